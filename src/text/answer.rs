//! The program in a model's answer to a problem.
//!
//! - The first fenced block that is not blank is the program. Without a block, the first line is taken for an introduction and
//!   dropped, unless it is all there is.
//! - Elixir's tests name the module of the reference solution: functions without it, or in a module of another name, are put
//!   into that module.
//! - Where the problem is the beginning of a program (HumanEval), an answer may go on from there, or be the whole function
//!   again; then what precedes the function in the problem, imports and helpers, is put before it.

use std::borrow::Cow;

use super::blocks::blocks;
use super::thinking::{self, Thinking};

/// The program in `reply`.
pub fn program(reply: &str) -> Cow<'_, str> {
    let (_, reply) = thinking::split(reply, Thinking::Tagged);
    let block = blocks(reply).map(|block| block.body).find(|body| !body.trim().is_empty());
    block.unwrap_or_else(|| {
        let text = reply.trim();
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest.trim());
        Cow::Borrowed(if rest.is_empty() { text } else { rest })
    })
}

/// `code` in the module of the reference solution `canonical`, for Elixir. As it is where it defines that module already, or where
/// `canonical` is not one module.
pub fn in_module<'a>(code: &'a str, canonical: &str) -> Cow<'a, str> {
    let module: Vec<&str> = canonical.trim().lines().collect();
    let (Some(first), Some(last)) = (module.first(), module.last()) else { return code.into() };
    if !is_module(first) || last.trim_end() != "end" || code.lines().any(|line| line.trim() == first.trim()) {
        return code.into();
    }
    let lines: Vec<&str> = code.trim().lines().collect();
    let inner = match lines.as_slice() {
        [begin, inner @ .., end] if is_module(begin) && end.trim_end() == "end" => inner,
        all => all,
    };
    format!("{first}\n{}\n{last}", inner.join("\n")).into()
}

fn is_module(line: &str) -> bool {
    line.trim_start().starts_with("defmodule ")
}

/// The program of `code`, an answer to a problem that is the beginning `prompt` of a program with the function `entry_point`.
/// `is_rest` says that it is known to go on from there.
pub fn after_prompt<'a>(code: &'a str, prompt: &str, entry_point: &str, is_rest: bool) -> Cow<'a, str> {
    let head = format!("def {entry_point}(");
    let defines = code.lines().any(|line| line.strip_prefix("async ").unwrap_or(line).starts_with(&head));
    if defines {
        let before: String = prompt
            .split_inclusive('\n')
            .take_while(|line| !line.strip_prefix("async ").unwrap_or(line).starts_with(&head))
            .collect();
        return if before.trim().is_empty() || before.len() == prompt.len() {
            code.into()
        } else {
            format!("{before}\n{code}").into()
        };
    }
    // In other languages the name alone has to tell.
    if !is_rest && !prompt.contains(&head) && code.contains(entry_point) {
        return code.into();
    }
    format!("{prompt}{code}").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_block_with_something_in_it_is_the_program() {
        assert_eq!(program("Sure:\n```\n\n```\n```python\nx = 1\n```\n```\ny\n```"), "x = 1");
        assert_eq!(program("```go\npackage main"), "package main");
        assert_eq!(program("<think>```\nno\n```</think>\n```\nyes\n```"), "yes");
    }

    #[test]
    fn without_a_block_the_first_line_is_dropped() {
        assert_eq!(program("Here it is:\nx = 1\ny = 2\n"), "x = 1\ny = 2");
        assert_eq!(program("  x = 1\n"), "x = 1");
        assert_eq!(program("x = 1\n\n\n"), "x = 1");
        assert_eq!(program(""), "");
    }

    #[test]
    fn elixir_functions_go_into_the_module_of_the_reference() {
        let canonical = "defmodule Sum do\n  def of(a), do: a\nend";
        let wrapped = "defmodule Sum do\n  def of(a), do: a + 0\nend";
        assert_eq!(
            in_module("  def of(a), do: a + 0", canonical),
            "defmodule Sum do\ndef of(a), do: a + 0\nend"
        );
        assert_eq!(in_module("defmodule Other do\n  def of(a), do: a + 0\nend", canonical), wrapped);
        let helped = "defmodule Help do\nend\ndefmodule Sum do\nend";
        assert_eq!(in_module(helped, canonical), helped);
        assert_eq!(in_module("x = 1", "def f, do: 1"), "x = 1");
    }

    #[test]
    fn an_answer_goes_on_from_the_prompt_or_replaces_the_function() {
        let prompt = "import math\n\ndef help(): return 2\n\ndef f(x):\n    \"\"\"Twice.\"\"\"\n";
        assert_eq!(after_prompt("    return x\n", prompt, "f", false), format!("{prompt}    return x\n"));
        assert_eq!(
            after_prompt("def f(x):\n    return help() * x", prompt, "f", false),
            "import math\n\ndef help(): return 2\n\n\ndef f(x):\n    return help() * x"
        );
        // A recursive continuation names the function, and so does a longer name.
        assert_eq!(after_prompt("    return f(x)", prompt, "f", true), format!("{prompt}    return f(x)"));
        assert_eq!(after_prompt("def ff(x): pass", prompt, "f", false), format!("{prompt}def ff(x): pass"));
        assert_eq!(after_prompt("int f() { return 1; }", "int f() {", "f", false), "int f() { return 1; }");
        assert_eq!(after_prompt(" return f(); }", "int f() {", "f", true), "int f() { return f(); }");
    }

    proptest! {
        #[test]
        fn a_fenced_program_comes_back_whole(code in "[ -~\n]{0,200}", before in "[a-z ]{0,20}", after in "[a-z `\n]{0,40}") {
            prop_assume!(!code.trim().is_empty());
            let fenced = super::super::blocks::render("python", &code);
            let reply = format!("{before}\n{fenced}\n{after}");
            prop_assert_eq!(program(&reply).into_owned(), code);
        }

        #[test]
        fn nothing_panics(code in ".{0,80}", canonical in ".{0,80}", name in "[a-z]{1,3}") {
            let _ = program(&code);
            let _ = in_module(&code, &canonical);
            let _ = after_prompt(&code, &canonical, &name, false);
        }
    }
}
