//! A Pascal source taken apart.

use super::lexer::{Kind, Token, lex};

/// Words that open a section of declarations.
const SECTIONS: [&str; 5] = ["const", "type", "var", "threadvar", "resourcestring"];
const ROUTINES: [&str; 5] = ["procedure", "function", "constructor", "destructor", "operator"];
/// What may stand before the keyword of a routine.
const PREFIXES: [&str; 2] = ["class", "generic"];
/// What may follow the head of a routine, up to the next semicolon.
const MODIFIERS: [&str; 18] = [
    "forward",
    "external",
    "overload",
    "inline",
    "cdecl",
    "stdcall",
    "virtual",
    "override",
    "abstract",
    "static",
    "reintroduce",
    "export",
    "register",
    "pascal",
    "assembler",
    "nostackframe",
    "deprecated",
    "dynamic",
];

/// The parts of a program or unit.
#[derive(Default)]
pub(super) struct Parts<'a> {
    /// Compiler directives at the top level, a line each.
    pub directives: String,
    /// What it uses.
    pub units: Vec<&'a str>,
    pub declarations: Vec<Declaration<'a>>,
    /// The program's own statements, from `begin` to before the last `end`.
    pub statements: Option<&'a str>,
    /// Its name when it is a unit.
    unit: Option<&'a str>,
}

/// One declaration.
pub(super) enum Declaration<'a> {
    /// `a, b: Integer;` under `var` and the like.
    Item { section: &'a str, names: Vec<&'a str>, rest: &'a str },
    /// A procedure, function or method. `promise`: its body follows in another part of the unit.
    Routine { name: String, text: &'a str, promise: bool },
}

impl<'a> Parts<'a> {
    pub(super) fn read(source: &'a str) -> Self {
        let tokens = lex(source);
        let mut reader = Reader { source, tokens: &tokens, at: 0 };
        let mut parts = Self::default();
        reader.read(&mut parts);
        parts
    }

    /// Whether it is the unit of this name.
    pub(super) fn is_own(&self, unit: &str) -> bool {
        self.unit.is_some_and(|own| own.eq_ignore_ascii_case(unit))
    }
}

struct Reader<'a, 'b> {
    source: &'a str,
    tokens: &'b [Token<'a>],
    at: usize,
}

impl<'a> Reader<'a, '_> {
    fn token(&self, ahead: usize) -> Option<&Token<'a>> {
        self.tokens.get(self.at + ahead)
    }

    fn is_word(&self, words: &[&str]) -> bool {
        self.token(0).is_some_and(|token| token.is_word(words))
    }

    /// What stands between the tokens `from` and `to`, the latter left out.
    fn text(&self, from: usize, to: usize) -> &'a str {
        let start = self.tokens.get(from).map_or(self.source.len(), |token| token.start);
        let end = to.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(start, Token::end);
        &self.source[start..end.max(start)]
    }

    fn read(&mut self, parts: &mut Parts<'a>) {
        let mut section = "";
        let mut in_interface = false;
        while let Some(token) = self.token(0).copied() {
            let start = self.at;
            if token.kind == Kind::Directive {
                let is_conditional = ["if", "else", "endif", "i "].iter().any(|word| {
                    token.text.to_lowercase().trim_start_matches(['{', '(', '*', '$']).starts_with(word)
                });
                if !is_conditional {
                    parts.directives.push_str(token.text);
                    parts.directives.push('\n');
                }
                self.at += 1;
            } else if token.is_word(&["program", "unit", "library"]) {
                if token.is_word(&["unit"]) {
                    parts.unit = self.token(1).map(|name| name.text);
                }
                self.past_semicolon();
            } else if token.is_word(&["uses"]) {
                self.past_semicolon();
                let list = self.text(start + 1, self.at.saturating_sub(1));
                parts.units.extend(list.split(',').map(str::trim).filter(|unit| !unit.is_empty()));
            } else if token.is_word(&["interface", "implementation", "initialization"]) {
                in_interface = token.is_word(&["interface"]);
                self.at += 1;
            } else if token.is_word(&SECTIONS) {
                section = token.text;
                self.at += 1;
            } else if self.is_routine() {
                let (name, promise) = self.routine(in_interface);
                let text = self.text(start, self.at);
                parts.declarations.push(Declaration::Routine { name, text, promise });
                section = "";
            } else if token.is_word(&["begin"]) {
                self.past_end();
                parts.statements = Some(self.text(start, self.at.saturating_sub(1)));
                return;
            } else if token.is_word(&["end"]) {
                return;
            } else if token.kind == Kind::Word && !section.is_empty() {
                parts.declarations.push(self.item(section));
            } else {
                self.at += 1;
            }
        }
    }

    fn is_routine(&self) -> bool {
        self.is_word(&ROUTINES)
            || (self.is_word(&PREFIXES) && self.token(1).is_some_and(|next| next.is_word(&ROUTINES)))
    }

    /// Past the next semicolon outside brackets, records and classes.
    fn past_semicolon(&mut self) {
        let mut depth = 0usize;
        while let Some(token) = self.token(0).copied() {
            if token.is_mark("(") || token.is_mark("[") {
                depth += 1;
            } else if token.is_mark(")") || token.is_mark("]") {
                depth = depth.saturating_sub(1);
            } else if token.is_word(&["record"]) || self.opens_class() {
                self.past_fields();
                continue;
            } else if depth == 0 && token.is_mark(";") {
                self.at += 1;
                return;
            }
            self.at += 1;
        }
    }

    /// Whether a class, object or interface with a body of its own begins here.
    fn opens_class(&self) -> bool {
        let follows = |marks: &[&str]| {
            self.at > 0
                && (marks.iter().any(|mark| self.tokens[self.at - 1].is_mark(mark))
                    || self.tokens[self.at - 1].is_word(&["packed"]))
        };
        if !self.is_word(&["class", "object", "interface"]) || !follows(&["="]) {
            return false;
        }
        let mut next = self.at + 1;
        if self.tokens.get(next).is_some_and(|token| token.is_mark("(")) {
            while self.tokens.get(next).is_some_and(|token| !token.is_mark(")")) {
                next += 1;
            }
            next += 1;
        }
        self.tokens.get(next).is_some_and(|token| !token.is_mark(";") && !token.is_word(&["of"]))
    }

    /// Past the `end` of the record or class that begins here.
    fn past_fields(&mut self) {
        self.at += 1;
        while let Some(token) = self.token(0).copied() {
            if token.is_word(&["record"]) || self.opens_class() {
                self.past_fields();
                continue;
            }
            self.at += 1;
            if token.is_word(&["end"]) {
                return;
            }
        }
    }

    /// Past the `end` of the `begin` that is here.
    fn past_end(&mut self) {
        let mut depth = 0usize;
        while let Some(token) = self.token(0).copied() {
            self.at += 1;
            if token.is_word(&["begin", "case", "try", "asm"]) {
                depth += 1;
            } else if token.is_word(&["end"]) {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    /// Reads the routine that begins here: its name, and whether its body is elsewhere.
    fn routine(&mut self, in_interface: bool) -> (String, bool) {
        while self.is_word(&PREFIXES) {
            self.at += 1;
        }
        self.at += 1;
        let mut name = String::new();
        while let Some(token) = self.token(0).filter(|t| !["(", ";", ":"].iter().any(|mark| t.is_mark(mark)))
        {
            name.push_str(&token.text.to_lowercase());
            self.at += 1;
        }
        self.past_semicolon();
        let mut has_body = true;
        while self.is_word(&MODIFIERS) {
            has_body &= !self.is_word(&["forward", "external"]);
            self.past_semicolon();
        }
        if has_body && !in_interface {
            self.block();
        }
        (name, has_body && in_interface)
    }

    /// Past the declarations and statements of a routine.
    fn block(&mut self) {
        while let Some(token) = self.token(0).copied() {
            let is_type = self.at > 0 && ["=", ":"].iter().any(|mark| self.tokens[self.at - 1].is_mark(mark));
            if token.is_word(&["begin", "asm"]) {
                self.past_end();
                if self.token(0).is_some_and(|token| token.is_mark(";")) {
                    self.at += 1;
                }
                return;
            } else if self.is_routine() && !is_type {
                self.routine(false);
            } else if token.is_word(&["record"]) || self.opens_class() {
                self.past_fields();
            } else {
                self.at += 1;
            }
        }
    }

    /// Reads the declaration of names that begins here.
    fn item(&mut self, section: &'a str) -> Declaration<'a> {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(token) = self.token(0).filter(|t| !["=", ":", ";"].iter().any(|mark| t.is_mark(mark)))
        {
            if token.kind == Kind::Word && !token.is_word(&["generic"]) {
                names.push(token.text);
            }
            self.at += 1;
        }
        // A generic type is one name, whatever its parameters are called.
        if self.tokens[start..self.at].iter().any(|token| token.is_mark("<")) {
            names = vec![self.text(start, self.at)];
        }
        let rest = self.at;
        self.past_semicolon();
        Declaration::Item { section, names, rest: self.text(rest, self.at) }
    }
}

impl Declaration<'_> {
    /// The names it declares, lower case.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Item { names, .. } => names.iter().map(|name| name.to_lowercase()).collect(),
            Self::Routine { name, .. } => vec![name.clone()],
        }
    }
}
