//! Where in a program something can be made wrong.

use std::ops::Range;

use tree_sitter::{Node, Tree};

use super::table::Functions;
use super::{Kind, Mutant, Mutator};
use crate::frame::key::Key;

/// Longest condition or pair of arguments that is changed, bytes: texts that hold one another would add up.
const MAX_EDIT_BYTES: usize = 1000;

/// Nodes whose kind contains one of these hold nothing that runs.
const SILENT: [&str; 4] = ["comment", "import", "include", "annotation"];

/// Functions of which the order of the arguments does not matter.
const SYMMETRIC: [&str; 9] = ["max", "min", "Max", "Min", "gcd", "lcm", "hypot", "swap", "equals"];

/// One change of a program.
#[derive(Debug)]
pub(super) struct Edit {
    pub kind: Kind,
    pub line: usize,
    /// Bytes that are replaced.
    pub range: Range<usize>,
    pub to: String,
}

impl Edit {
    /// Where it comes among others of its kind: at random, but always the same.
    pub fn rank(&self, seed: u64, source: &str) -> Key {
        let at = self.range.start.to_le_bytes();
        Key::of(&[&seed.to_le_bytes()[..], source.as_bytes(), &at, self.to.as_bytes()])
    }

    /// The program with this change made.
    pub fn make(self, source: &str) -> Option<Mutant> {
        let from = source.get(self.range.clone())?.to_owned();
        let source = [source.get(..self.range.start)?, &self.to, source.get(self.range.end..)?].concat();
        Some(Mutant { kind: self.kind, line: self.line, from, to: self.to, source })
    }
}

/// What can be changed in a program, in the order of the text.
pub(super) struct Sites<'a> {
    mutator: &'a Mutator,
    source: &'a str,
    /// Changes that make a mutant each.
    pub edits: Vec<Edit>,
    /// Changes that together make the stub: the bodies of the outermost functions.
    pub stubs: Vec<Edit>,
}

/// What a function returns when it does nothing.
struct Constant {
    /// Empty where it returns none.
    value: String,
    statement: String,
}

/// An ancestor of the node at hand.
struct Ancestor<'t> {
    node: Node<'t>,
    /// Whether it is a function, and what of a constant it can return.
    function: Option<Option<Constant>>,
}

impl<'a> Sites<'a> {
    pub fn of(mutator: &'a Mutator, source: &'a str, tree: &Tree) -> Self {
        let mut sites = Self { mutator, source, edits: Vec::new(), stubs: Vec::new() };
        sites.walk(tree);
        sites
    }

    /// Visits every node, without recursion: programs nest as deep as they like.
    fn walk(&mut self, tree: &Tree) {
        let mut cursor = tree.walk();
        let mut above: Vec<Ancestor<'_>> = Vec::new();
        let mut functions_above = 0;
        loop {
            let node = cursor.node();
            if !self.is_left_alone(node) {
                let function = self.function(node);
                if let (Some(Some(constant)), Some(functions)) = (&function, &self.mutator.table.functions) {
                    self.replace_body(node, functions, constant, functions_above == 0);
                }
                self.operator(node, above.last());
                self.constant(node);
                self.condition(node);
                self.arguments(node, above.last());
                self.returned_value(node, &above);
                if cursor.goto_first_child() {
                    functions_above += usize::from(function.is_some());
                    above.push(Ancestor { node, function });
                    continue;
                }
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return;
                }
                let left = above.pop();
                functions_above -= usize::from(left.is_some_and(|ancestor| ancestor.function.is_some()));
            }
        }
    }

    fn text(&self, node: Node<'_>) -> &'a str {
        self.source.get(node.byte_range()).unwrap_or_default()
    }

    fn add(&mut self, kind: Kind, node: Node<'_>, range: Range<usize>, to: String) {
        self.edits.push(Edit { kind, line: node.start_position().row + 1, range, to });
    }

    fn is_left_alone(&self, node: Node<'_>) -> bool {
        let (table, kind) = (&self.mutator.table, node.kind());
        node.is_named() && SILENT.iter().any(|part| kind.contains(part))
            || is_in(&table.skip, kind)
            || self.is_function(node) && table.entry.iter().any(|name| *name == self.name(node))
            || is_in(&table.branches, kind) && self.asks_for_main(node)
    }

    /// Whether `branch` runs only where the file is the main program.
    fn asks_for_main(&self, branch: Node<'_>) -> bool {
        let table = &self.mutator.table;
        let condition = branch.child_by_field_name(&table.condition).map(|node| self.text(node));
        condition.is_some_and(|text| table.guards.iter().any(|guard| text.contains(guard.as_str())))
    }

    fn is_function(&self, node: Node<'_>) -> bool {
        self.mutator.table.functions.as_ref().is_some_and(|functions| is_in(&functions.kinds, node.kind()))
    }

    /// The name of a function; C and its kin hide it in a declarator.
    fn name(&self, function: Node<'_>) -> &'a str {
        let named = ["name", "declarator", "signature"];
        let text =
            named.iter().find_map(|field| function.child_by_field_name(field)).map(|node| self.text(node));
        let name = text.unwrap_or_default().split('(').next().unwrap_or_default();
        name.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
    }

    fn operator(&mut self, node: Node<'_>, parent: Option<&Ancestor<'_>>) {
        let table = &self.mutator.table;
        if node.child_count() == 0
            && parent.is_some_and(|parent| is_in(&table.operators_in, parent.node.kind()))
        {
            for (kind, to) in self.mutator.operators.get(self.text(node)).into_iter().flatten() {
                if *kind != Kind::Arithmetic || !joins_text(node) {
                    self.add(*kind, node, node.byte_range(), to.clone());
                }
            }
        }
    }

    fn constant(&mut self, node: Node<'_>) {
        let (table, text) = (&self.mutator.table, self.text(node));
        if is_in(&table.numbers, node.kind()) {
            for number in off_by_one(text) {
                self.add(Kind::Constant, node, node.byte_range(), number);
            }
        } else if node.child_count() == 0
            && (node.kind().eq_ignore_ascii_case(text) || is_in(&table.booleans, node.kind()))
            && let Some(other) = other_truth(text)
        {
            self.add(Kind::Constant, node, node.byte_range(), other.to_owned());
        }
    }

    fn condition(&mut self, node: Node<'_>) {
        let table = &self.mutator.table;
        let is_branch = is_in(&table.branches, node.kind());
        if !is_branch && !is_in(&table.loops, node.kind()) {
            return;
        }
        let mut cursor = node.walk();
        let condition = node.children_by_field_name(&table.condition, &mut cursor).find(Node::is_named);
        let Some(condition) = condition else { return };
        let text = self.text(condition);
        if text.len() > MAX_EDIT_BYTES {
            return;
        }
        let always = is_branch.then_some(&table.always);
        for template in [Some(&table.never), always].into_iter().flatten() {
            self.add(Kind::Branch, condition, condition.byte_range(), template.replacen("{}", text, 1));
        }
    }

    fn arguments(&mut self, node: Node<'_>, parent: Option<&Ancestor<'_>>) {
        if !is_in(&self.mutator.table.arguments, node.kind()) {
            return;
        }
        let before = parent.and_then(|parent| self.source.get(parent.node.start_byte()..node.start_byte()));
        let called = before.unwrap_or_default().trim_end();
        let name = called.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        if SYMMETRIC.contains(&name) {
            return;
        }
        let mut cursor = node.walk();
        let mut children = node.named_children(&mut cursor).filter(|child| !child.is_extra());
        let Some(mut left) = children.next() else { return };
        for right in children {
            let pair = left.start_byte()..right.end_byte();
            let texts = (self.text(left), self.text(right));
            let between = self.source.get(left.end_byte()..right.start_byte()).unwrap_or_default();
            // Arguments that are told by name may come in any order; without a separator these are not two arguments.
            let are_placed = [left, right].iter().all(|node| node.child_by_field_name("name").is_none());
            if are_placed && texts.0 != texts.1 && between.trim() == "," && pair.len() <= MAX_EDIT_BYTES {
                self.add(Kind::Argument, left, pair, [texts.1, between, texts.0].concat());
            }
            left = right;
        }
    }

    fn returned_value(&mut self, node: Node<'_>, above: &[Ancestor<'_>]) {
        let Some(functions) = &self.mutator.table.functions else { return };
        // Ruby's `return` holds a token of the same name.
        if !node.is_named() || !is_in(&functions.returns, node.kind()) {
            return;
        }
        let function = above.iter().rev().find_map(|ancestor| ancestor.function.as_ref());
        let Some(Some(constant)) = function else { return };
        let text = self.text(node);
        let to = match text.ends_with(';') {
            true => &constant.statement,
            false => constant.statement.trim_end_matches(';'),
        };
        self.add(Kind::Return, node, node.byte_range(), to.to_owned());
    }

    /// Whether `node` is a function, and what of a constant it can return.
    fn function(&self, node: Node<'_>) -> Option<Option<Constant>> {
        let functions = self.mutator.table.functions.as_ref().filter(|_| self.is_function(node))?;
        Some(self.constant_of(node, functions))
    }

    fn constant_of(&self, function: Node<'_>, functions: &Functions) -> Option<Constant> {
        let result = functions.result.as_deref().and_then(|place| result_type(function, place));
        let of_type = |text: &str| {
            if functions.opaque.as_ref().is_some_and(|opaque| opaque.is_match(text)) {
                return None;
            }
            let (_, value) = functions.values.iter().find(|(pattern, _)| pattern.is_match(text))?;
            Some(value.replace("{type}", text))
        };
        let value = match result {
            None => of_type("")?,
            Some(list) if functions.type_list.as_deref() == Some(list.kind()) => {
                let mut values = Vec::new();
                let mut cursor = list.walk();
                for entry in list.named_children(&mut cursor).filter(|child| !child.is_extra()) {
                    let mut cursor = entry.walk();
                    let names = entry.children_by_field_name("name", &mut cursor).count();
                    let value = of_type(self.text(entry.child_by_field_name("type")?))?;
                    values.extend(std::iter::repeat_n(value, names.max(1)));
                }
                values.join(", ")
            }
            Some(node) => {
                let declarator = function.child_by_field_name("declarator").map(|node| self.text(node));
                let pointers = declarator.unwrap_or_default().chars().take_while(|c| "*&".contains(*c));
                let text = self.text(node).trim_start_matches(':').trim_start();
                of_type(&text.chars().chain(pointers).collect::<String>())?
            }
        };
        let statement = match value.as_str() {
            "" => functions.void.clone(),
            value => functions.returning.replacen("{}", value, 1),
        };
        Some(Constant { value, statement })
    }

    /// The body of `function` replaced by `constant`, for the stub where it `is_outermost`, or begun with it.
    fn replace_body(
        &mut self,
        function: Node<'_>,
        functions: &Functions,
        constant: &Constant,
        is_outermost: bool,
    ) {
        let Some(body) = body(function, functions) else { return };
        let text = self.text(body);
        let statement = constant.statement.as_str();
        let in_stub = is_outermost && !functions.keep.iter().any(|name| *name == self.name(function));
        let whole = |to: String| Edit {
            kind: Kind::Return,
            line: body.start_position().row + 1,
            range: body.byte_range(),
            to,
        };
        if !is_in(&functions.blocks, body.kind()) {
            if !constant.value.is_empty() {
                self.edits.push(whole(constant.value.clone()));
                if in_stub {
                    self.stubs.push(whole(constant.value.clone()));
                }
            }
            return;
        }
        if in_stub {
            self.stubs.push(whole(functions.block.replacen("{}", statement, 1)));
        }
        let inside = text.strip_prefix('{').unwrap_or(text);
        let first = inside.trim_start().trim_end_matches('}').trim_end();
        if first.is_empty() || first.starts_with(statement) {
            return;
        }
        let at = body.end_byte() - inside.len();
        let line = self.source.get(..body.start_byte()).and_then(|before| before.rsplit('\n').next());
        let line = line.unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let early = functions.early.replace("{indent}", indent).replacen("{}", statement, 1);
        self.add(Kind::Return, body, at..at, early);
    }
}

/// Whether an operator has text on one of its sides: another one would hardly ever compile.
fn joins_text(operator: Node<'_>) -> bool {
    let sides = [operator.prev_named_sibling(), operator.next_named_sibling()];
    sides.into_iter().flatten().any(|side| side.kind().contains("string"))
}

fn is_in(kinds: &[String], kind: &str) -> bool {
    kinds.iter().any(|known| known == kind)
}

/// The node of the type of a function's result: `place` is its field, or the token before it.
fn result_type<'t>(function: Node<'t>, place: &str) -> Option<Node<'t>> {
    if let Some(node) = function.child_by_field_name(place) {
        return Some(node);
    }
    let mut cursor = function.walk();
    let token = function.children(&mut cursor).find(|child| !child.is_named() && child.kind() == place);
    token?.next_named_sibling()
}

/// The body proper of a function.
fn body<'t>(function: Node<'t>, functions: &Functions) -> Option<Node<'t>> {
    let by_kind = || {
        let mut cursor = function.walk();
        function.named_children(&mut cursor).find(|child| child.kind() == functions.body)
    };
    let mut body = function.child_by_field_name(&functions.body).or_else(by_kind)?;
    while is_in(&functions.wrappers, body.kind()) {
        let mut cursor = body.walk();
        body = body.named_children(&mut cursor).find(|child| !child.is_extra())?;
    }
    Some(body)
}

/// A whole number, one more and one less. None when it is not plain digits, but for a short suffix.
fn off_by_one(text: &str) -> Vec<String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let is_plain = suffix.len() <= 3 && suffix.bytes().all(|c| c.is_ascii_alphanumeric());
    let is_octal = number.len() > 1 && number.starts_with('0') || suffix.starts_with(['x', 'X', 'b', 'o']);
    match number.parse::<u64>() {
        Ok(value) if is_plain && !is_octal => {
            let others = [value.checked_add(1), value.checked_sub(1)];
            others.into_iter().flatten().map(|other| format!("{other}{suffix}")).collect()
        }
        _ => Vec::new(),
    }
}

/// The other truth value.
fn other_truth(text: &str) -> Option<&'static str> {
    Some(match text {
        "true" => "false",
        "false" => "true",
        "True" => "False",
        "False" => "True",
        "TRUE" => "FALSE",
        "FALSE" => "TRUE",
        "#t" => "#f",
        "#f" => "#t",
        _ => return None,
    })
}
