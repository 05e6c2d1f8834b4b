//! Option names as users of the older tools type them: `--rnn_size 128` and Torch's `-rnn_size 128`.

use std::ffi::OsString;

use clap::Command;

/// Turns `_` into `-` in the names of long options, and a single dash before the name of a long option into two. Values are
/// left as they are.
pub(crate) fn normalise(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let names = long_names(command);
    let mut after_dashes = false;
    let one = |argument: OsString| {
        let Some(text) = argument.to_str() else { return argument };
        if after_dashes || text == "--" {
            after_dashes = true;
            return argument;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let letters = name.trim_start_matches('-');
        let dashes = name.len() - letters.len();
        let plain = letters.replace('_', "-");
        let long = dashes == 2 && !letters.is_empty() || dashes == 1 && plain.len() > 1 && names.contains(&plain);
        if !long {
            return argument;
        }
        match value {
            Some(value) => format!("--{plain}={value}").into(),
            None => format!("--{plain}").into(),
        }
    };
    arguments.into_iter().map(one).collect()
}

/// Every long option of the command and its subcommands, with all aliases.
fn long_names(command: &Command) -> Vec<String> {
    let own = command.get_arguments().flat_map(|argument| {
        let aliases = argument.get_all_aliases().unwrap_or_default();
        argument.get_long().into_iter().chain(aliases).map(str::to_owned).collect::<Vec<_>>()
    });
    own.chain(command.get_subcommands().flat_map(long_names)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn underscores_and_single_dashes_are_understood() {
        let command = Command::new("unroll")
            .subcommand(Command::new("train").arg(Arg::new("size").long("rnn-size").alias("nhid").short('s')));
        let given =
            ["unroll", "train", "--rnn_size=a_b", "-rnn_size", "-nhid", "-s", "--no_such", "-1", "a_b", "-", "--"];
        let given = given.into_iter().chain(["--rnn_size"]).map(OsString::from);
        let expected =
            ["unroll", "train", "--rnn-size=a_b", "--rnn-size", "--nhid", "-s", "--no-such", "-1", "a_b", "-", "--"];
        let expected: Vec<OsString> = expected.into_iter().chain(["--rnn_size"]).map(OsString::from).collect();
        assert_eq!(normalise(&command, given), expected);
    }
}
