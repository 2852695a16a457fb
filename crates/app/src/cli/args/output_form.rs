//! The options for the form of what a command prints, and for showing it again and again.

use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct JsonFlag {
    /// Print one JSON value and nothing else
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// The form of what a command prints.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(in crate::cli) struct OutputArgs {
    /// Print a table that fits the terminal, a wide one with everything in it, or json
    #[arg(short, long, value_name = "FORM", default_value_t = OutputForm::Table, value_enum, hide_default_value = true)]
    output: OutputForm,
    /// Print one JSON value and nothing else, as -o json does
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl OutputArgs {
    /// Returns whether no form was asked for.
    pub(in crate::cli) fn is_default(self) -> bool {
        self.form() == OutputForm::Table
    }

    pub(in crate::cli) fn form(self) -> OutputForm {
        if self.json { OutputForm::Json } else { self.output }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OutputForm {
    // Without documentation, which would make every help text long.
    #[default]
    Table,
    Wide,
    Json,
}

impl OutputForm {
    pub(in crate::cli) fn is_wide(self) -> bool {
        self == Self::Wide
    }
}

#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(in crate::cli) struct WatchedArgs {
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
    /// Show it again each second, until Ctrl-C
    #[arg(short, long)]
    pub(in crate::cli) watch: bool,
}
