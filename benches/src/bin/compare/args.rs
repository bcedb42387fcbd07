//! The command line: one subcommand, positional words, `--name value`. Too little for a library.

use std::fmt::Display;
use std::str::FromStr;

pub(crate) struct Args {
    words: Vec<String>,
}

impl Args {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Self {
        Args { words: words.collect() }
    }

    /// The first word, with `--help` standing for `help`.
    pub(crate) fn subcommand(&mut self) -> Option<String> {
        let word = (!self.words.is_empty()).then(|| self.words.remove(0))?;
        Some(if word == "--help" || word == "-h" { "help".into() } else { word })
    }

    /// The next word that isn't an option; options before it have to be taken first.
    pub(crate) fn positional<T: FromStr<Err: Display>>(&mut self, what: &str) -> Result<T, String> {
        if self.words.first().is_none_or(|word| word.starts_with("--")) {
            return Err(format!("{what} is missing"));
        }
        self.words.remove(0).parse().map_err(|error| format!("{error}"))
    }

    /// The value of `--name`, if it is there.
    pub(crate) fn option(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        self.words.remove(at);
        if at == self.words.len() {
            return Err(format!("{name} needs a value"));
        }
        Ok(Some(self.words.remove(at)))
    }

    /// The value of `--name`, a comma-separated list.
    pub(crate) fn list<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<Vec<T>>, String> {
        let Some(value) = self.option(name)? else {
            return Ok(None);
        };
        let elements = value.split(',').map(|word| word.trim().parse::<T>());
        elements.collect::<Result<Vec<T>, _>>().map(Some).map_err(|error| format!("{name} {value}: {error}"))
    }

    /// The value of `--name`, at least 1.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<usize>, String> {
        match self.option(name)?.map(|value| value.parse::<usize>().map_err(|error| (value, error))) {
            None => Ok(None),
            Some(Ok(0)) => Err(format!("{name} has to be at least 1")),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err((value, error))) => Err(format!("{name} {value}: {error}")),
        }
    }

    /// Errs if anything wasn't taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("don't know what to do with `{word}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_are_found_anywhere() {
        let mut args = args("http --conns 1,20 --secs 3");
        assert_eq!(args.subcommand().as_deref(), Some("http"));
        assert_eq!(args.number("--secs"), Ok(Some(3)));
        assert_eq!(args.list::<usize>("--conns"), Ok(Some(vec![1, 20])));
        assert_eq!(args.option("--json"), Ok(None));
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(args("--secs").option("--secs").is_err());
        assert!(args("--secs 0").number("--secs").is_err());
        assert!(args("--secs x").number("--secs").is_err());
        assert!(args("--conns 1,,2").list::<usize>("--conns").is_err());
        assert!(args("--workers 2").positional::<String>("a word").is_err());
        assert!(args("--colour").finish().is_err());
        assert_eq!(args("").subcommand(), None);
    }
}
