//! Grammars by name, and parsing within bounds.

use std::ops::ControlFlow;

use tree_sitter::{Language, ParseOptions, Parser, Tree};

use crate::error::{Error, Result};

/// One grammar.
pub(super) struct Grammar(Language);

impl Grammar {
    /// The grammar called `name`.
    ///
    /// # Errors
    /// There is none, or this version of tree-sitter cannot use it.
    pub fn named(name: &str) -> Result<Self> {
        let language: Language = match name {
            "bash" => tree_sitter_bash::LANGUAGE.into(),
            "c" => tree_sitter_c::LANGUAGE.into(),
            "c_sharp" => tree_sitter_c_sharp::LANGUAGE.into(),
            "cpp" => tree_sitter_cpp::LANGUAGE.into(),
            "dart" => tree_sitter_dart::LANGUAGE.into(),
            "elixir" => tree_sitter_elixir::LANGUAGE.into(),
            "go" => tree_sitter_go::LANGUAGE.into(),
            "haskell" => tree_sitter_haskell::LANGUAGE.into(),
            "java" => tree_sitter_java::LANGUAGE.into(),
            "javascript" => tree_sitter_javascript::LANGUAGE.into(),
            "julia" => tree_sitter_julia::LANGUAGE.into(),
            "kotlin" => tree_sitter_kotlin_ng::LANGUAGE.into(),
            "lua" => tree_sitter_lua::LANGUAGE.into(),
            "perl" => ts_parser_perl::LANGUAGE.into(),
            "php" => tree_sitter_php::LANGUAGE_PHP.into(),
            "python" => tree_sitter_python::LANGUAGE.into(),
            "r" => tree_sitter_r::LANGUAGE.into(),
            "racket" => tree_sitter_racket::LANGUAGE.into(),
            "ruby" => tree_sitter_ruby::LANGUAGE.into(),
            "rust" => tree_sitter_rust::LANGUAGE.into(),
            "scala" => tree_sitter_scala::LANGUAGE.into(),
            "swift" => tree_sitter_swift::LANGUAGE.into(),
            "typescript" => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            _ => return Err(Error::usage(format!("there is no grammar called `{name}`"))),
        };
        let grammar = Self(language);
        grammar.parser().map_err(|error| Error::usage(format!("grammar `{name}`: {error}")))?;
        Ok(grammar)
    }

    fn parser(&self) -> Result<Parser, tree_sitter::LanguageError> {
        let mut parser = Parser::new();
        parser.set_language(&self.0)?;
        Ok(parser)
    }

    /// What tells one version of the grammar from another, as far as it says.
    pub fn identity(&self) -> String {
        let version = self.0.metadata().map(|of| (of.major_version, of.minor_version, of.patch_version));
        format!("{version:?} {} {}", self.0.node_kind_count(), self.0.parse_state_count())
    }

    /// That the grammar has nodes of this kind.
    ///
    /// # Errors
    /// It has none.
    pub fn check_kind(&self, kind: &str) -> Result<()> {
        match self.0.id_for_node_kind(kind, true) {
            0 => Err(Error::usage(format!("the grammar has no node called `{kind}`"))),
            _ => Ok(()),
        }
    }

    /// Parses `source`. `None` when that takes far more steps than a program of that length should.
    pub fn parse(&self, source: &str) -> Option<Tree> {
        let bytes = source.as_bytes();
        // Counted, not timed: the same program is given up on everywhere or nowhere.
        let mut steps = 100 + bytes.len() / 5;
        let mut count = |_: &tree_sitter::ParseState| match steps {
            0 => ControlFlow::Break(()),
            _ => {
                steps -= 1;
                ControlFlow::Continue(())
            }
        };
        let options = ParseOptions::new().progress_callback(&mut count);
        let mut text = |from: usize, _| bytes.get(from..).unwrap_or_default();
        self.parser().ok()?.parse_with_options(&mut text, None, Some(options))
    }
}

/// How many syntax errors `tree` has.
pub(super) fn errors(tree: &Tree) -> usize {
    let mut errors = 0;
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        errors += usize::from(node.is_error() || node.is_missing());
        if node.has_error() && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return errors;
            }
        }
    }
}
