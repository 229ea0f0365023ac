//! `idlewild completions` and `idlewild man`: what a package installs beside the binary, made from the description of
//! the command line. `deploy/` has the results for packages.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args, Debug)]
pub(super) struct CompletionsCommand {
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManCommand {
    /// The directory for the pages; created if it does not exist.
    directory: PathBuf,
}

impl CompletionsCommand {
    pub(super) fn run(&self, mut command_line: Command) -> anyhow::Result<()> {
        let name = command_line.get_name().to_owned();
        // In memory first: the generator panics if its output is closed (`| head`).
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command_line, name, &mut script);
        io::stdout().write_all(&script)?;
        Ok(())
    }
}

impl ManCommand {
    /// Without the version, so that the pages in `deploy/` are the same in each release.
    pub(super) fn run(&self, command_line: Command) -> anyhow::Result<()> {
        let command_line = command_line.version(None::<&str>);
        fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(command_line, &self.directory))
            .with_context(|| self.directory.display().to_string())
    }
}
