//! What must hold of a language file beyond its keys and types.

use super::{Compiler, ForkServer, Language, Package, Variant, placeholders};
use crate::error::{Error, Result};
use crate::sandbox::splice;

impl Language {
    pub(super) fn check(&self) -> Result<()> {
        let names = [&self.name].into_iter().chain(&self.aliases).chain(&self.extensions);
        for name in names {
            if name.is_empty() || name.chars().any(|c| c.is_uppercase() || c.is_control()) {
                return Err(Error::usage(format!("name {name:?} must be lower case and not empty")));
            }
        }
        let completion_files = self.completion.iter().flat_map(|completion| completion.files.keys());
        let file_names = self.variants.values().filter_map(|variant| variant.file_name.as_ref());
        for file_name in file_names.chain([&self.file_name]).chain(self.files.keys()).chain(completion_files)
        {
            if file_name.is_empty() || file_name.contains('/') {
                return Err(Error::usage(format!("key `file_name`: {file_name:?} is not a plain file name")));
            }
        }
        if !splice::is_known(&self.splice) {
            return Err(Error::usage(format!("key `splice`: there is no splicer named {:?}", self.splice))
                .hint(format!("the splicers are {}", splice::names().join(", "))));
        }
        if self.completion.as_ref().is_some_and(|completion| {
            completion.after.is_none()
                && completion.entry.is_none()
                && completion.compile.is_none()
                && completion.report.is_none()
                && completion.run.is_none()
                && completion.variants.is_empty()
        }) {
            return Err(Error::usage("key `completion`: nothing in it tells that tests ran to their end"));
        }
        let by_hand = |package: &Package| matches!(package, Package::Manual(_));
        if self.installable == self.toolchain.packages().any(by_hand) {
            return Err(Error::usage(format!(
                "key `installable`: {} is not what the packages of [toolchain] say",
                self.installable
            )));
        }
        self.compiler.as_ref().map_or(Ok(()), Compiler::check)?;
        self.fork_server.as_ref().map_or(Ok(()), ForkServer::check)?;
        for (key, command) in self.commands() {
            self.check_command(&key, command)?;
        }
        for argument in &self.vary_arguments {
            self.check_placeholders("vary_arguments", argument)?;
        }
        for (name, value) in &self.env {
            self.check_placeholders(&format!("env.{name}"), value)?;
        }
        Ok(())
    }

    /// Every command of the file with its key.
    fn commands(&self) -> Vec<(String, &[String])> {
        let mut commands = vec![
            ("run".to_owned(), self.run.as_slice()),
            ("toolchain.version".to_owned(), self.toolchain.version.as_slice()),
        ];
        commands.extend(self.compile.iter().map(|command| ("compile".to_owned(), command.as_slice())));
        for command in self.warm.iter().flat_map(|warm| &warm.commands) {
            commands.push(("warm.commands".to_owned(), command));
        }
        if let Some(compiler) = &self.compiler {
            commands.push(("compiler.command".to_owned(), &compiler.command));
            commands.push(("compiler.arguments".to_owned(), &compiler.arguments));
        }
        if let Some(server) = &self.fork_server {
            commands.push(("fork_server.library".to_owned(), &server.library));
        }
        variants(&mut commands, "variant", self.variants.iter());
        if let Some(completion) = &self.completion {
            commands
                .extend(completion.compile.iter().map(|c| ("completion.compile".to_owned(), c.as_slice())));
            commands.extend(completion.run.iter().map(|c| ("completion.run".to_owned(), c.as_slice())));
            variants(&mut commands, "completion.variant", completion.variants.iter());
        }
        commands
    }

    fn check_command(&self, key: &str, command: &[String]) -> Result<()> {
        if command.is_empty() {
            return Err(Error::usage(format!("key `{key}`: the command is empty")));
        }
        command.iter().try_for_each(|argument| self.check_placeholders(key, argument))
    }

    fn check_placeholders(&self, key: &str, text: &str) -> Result<()> {
        for name in placeholders(text) {
            let declared = name == "file"
                || (name == "warm" && self.warm.is_some())
                || splice::values_of(&self.splice).contains(&name)
                || self.toolchain.programs.contains_key(name)
                || self.toolchain.files.contains_key(name);
            if !declared {
                return Err(Error::usage(format!(
                    "key `{key}`: {{{name}}} is neither {{file}} nor a program or file of [toolchain]"
                )));
            }
        }
        Ok(())
    }
}

fn variants<'a>(
    commands: &mut Vec<(String, &'a [String])>,
    key: &str,
    variants: impl Iterator<Item = (&'a String, &'a Variant)>,
) {
    for (name, variant) in variants {
        commands.extend(variant.compile.iter().map(|c| (format!("{key}.{name}.compile"), c.as_slice())));
        commands.extend(variant.run.iter().map(|c| (format!("{key}.{name}.run"), c.as_slice())));
    }
}
