//! The flags that configuration keys declare.

use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{self, Form};

/// The names of keys with the values of their flags.
#[derive(Debug)]
pub(super) struct KeyFlags(pub(super) Vec<(String, String)>);

impl Args for KeyFlags {
    fn augment_args(command: Command) -> Command {
        let flag = |key: &'static config::ConfigKey| {
            let is_list = key.form == Form::List;
            let (action, more) = if is_list {
                (ArgAction::Append, "; may be repeated")
            } else {
                (ArgAction::Set, "")
            };
            Arg::new(key.name)
                .long(key.name.replace('_', "-"))
                .value_name(key.flag)
                .action(action)
                .help(format!("{}{more}", key.summary()))
        };
        command.args(config::flags().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let values = config::flags().flat_map(|key| {
            let values = matches.get_many::<String>(key.name).unwrap_or_default();
            values.map(|value| (key.name.to_owned(), value.clone()))
        });
        Ok(Self(values.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
