//! The command line: one subcommand, positional words, `--name value`, `--flag`. Too little for a library.
//!
//! What all contests take is [`Common`]. A contest's own `Options::read(Common, &mut Args)` turns it into what it runs with:
//! its defaults, its quick settings, its list of contestants, and the options that only it has.

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

    /// Whether `name` is there, an option without a value.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// Errs if anything wasn't taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("don't know what to do with `{word}`")),
        }
    }
}

/// The options of every contest. What isn't given is the contest's to choose.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Common {
    /// `--rounds N`: how often each contestant has its turn.
    pub(crate) rounds: Option<usize>,
    /// `--workers N`: threads of every contestant.
    pub(crate) workers: Option<usize>,
    /// `--only a,b`: who takes part; see [`chosen`](Common::chosen).
    pub(crate) only: Option<Vec<String>>,
    /// `--json FILE`: main writes it.
    pub(crate) json: Option<String>,
    /// `--quick`: less of everything, to see that all of it runs.
    pub(crate) quick: bool,
    /// Names in `only` that a contest doesn't know are passed over: not all contestants can do everything, and `all` has one
    /// list for all contests.
    pub(crate) pass_over: bool,
}

impl Common {
    pub(crate) fn read(args: &mut Args) -> Result<Self, String> {
        Ok(Common {
            rounds: args.number("--rounds")?,
            workers: args.number("--workers")?,
            only: args.list("--only")?,
            json: args.option("--json")?,
            quick: args.flag("--quick"),
            pass_over: false,
        })
    }

    /// Those of `known` that take part, in the order of `known`.
    ///
    /// # Errors
    /// If `--only` has a name twice, or one that isn't known.
    pub(crate) fn chosen<'a>(&self, known: &[&'a str]) -> Result<Vec<&'a str>, String> {
        let Some(only) = &self.only else {
            return Ok(known.to_vec());
        };
        for (at, name) in only.iter().enumerate() {
            if only[..at].contains(name) {
                return Err(format!("--only names {name} twice"));
            }
            if !self.pass_over && !known.contains(&name.as_str()) {
                return Err(format!("--only: `{name}` is none of {}", known.join(", ")));
            }
        }
        Ok(known.iter().copied().filter(|name| only.iter().any(|chosen| chosen == name)).collect())
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

    #[test]
    fn the_common_options_leave_the_others() {
        let mut args = args("--rounds 4 --secs 3 --quick --only tokio,egret --json x");
        let common = Common::read(&mut args).unwrap();
        assert_eq!((common.rounds, common.workers, common.quick), (Some(4), None, true));
        assert_eq!(common.json.as_deref(), Some("x"));
        assert_eq!(common.chosen(&["egret", "tokio", "smol"]), Ok(vec!["egret", "tokio"]));
        assert_eq!(args.number("--secs"), Ok(Some(3)));
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn who_takes_part_has_to_be_known() {
        let common = |line: &str| Common::read(&mut args(line)).unwrap();
        assert_eq!(common("").chosen(&["egret", "smol"]), Ok(vec!["egret", "smol"]));
        assert!(common("--only egret,egret").chosen(&["egret"]).is_err());
        assert!(common("--only egret,epoll").chosen(&["egret", "smol"]).is_err());
        let all = Common { pass_over: true, ..common("--only egret,epoll") };
        assert_eq!(all.chosen(&["egret", "smol"]), Ok(vec!["egret"]));
    }
}
