//! The option that names the data folder.

use std::path::PathBuf;

use crate::DataDir;
use crate::cli::error::CliError;

/// The variable that names the data folder.
pub(super) const DATA_DIR_VARIABLE: &str = "MAINSTAY_DATA_DIR";
/// The heading of the options that every command takes.
pub(super) const GLOBAL: &str = "Global options";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DataDirArg {
    /// The folder for the journal and the control file [default: the platform's data folder, mainstay/]
    #[arg(long, global = true, value_name = "DIR", env = DATA_DIR_VARIABLE, hide_env_values = true, help_heading = GLOBAL)]
    data_dir: Option<PathBuf>,
}

impl DataDirArg {
    pub(in crate::cli) fn folder(&self) -> Result<DataDir, CliError> {
        let default = || dirs::data_dir().map(|dir| dir.join("mainstay"));
        self.data_dir.clone().or_else(default).map(DataDir::new).ok_or_else(|| {
            CliError::usage(
                "this system names no data folder: say which one with --data-dir DIR or MAINSTAY_DATA_DIR",
            )
        })
    }
}

impl DataDirArg {
    /// Returns the beginning of a command line for this program and this folder, for a person to copy.
    pub(in crate::cli) fn this_program(&self) -> String {
        let word = |text: &str| quote(text, cfg!(windows));
        let program = std::env::args().next().map_or_else(|| "mainstay".to_owned(), |program| word(&program));
        match &self.data_dir {
            Some(folder) => format!("{program} --data-dir {}", word(&folder.display().to_string())),
            None => program,
        }
    }
}

/// Returns a word of a command line as a shell takes it whole: PowerShell and cmd, or one of Unix.
pub(super) fn quote(word: &str, is_windows: bool) -> String {
    let is_plain_mark = |c| "/:._-".contains(c) || (is_windows && c == '\\');
    if !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || is_plain_mark(c)) {
        return word.to_owned();
    }
    match is_windows {
        true => format!("\"{word}\""),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
