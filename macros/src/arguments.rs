//! What stands in the attribute's parentheses: `name = value`, separated by commas. Names and values are tokio's.

use proc_macro2::{Span, TokenStream, TokenTree};

use crate::error::{Error, Result, is_punct, visible};
use crate::expand::Kind;

/// What runs the tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flavor {
    #[default]
    MultiThread,
    CurrentThread,
}

/// The arguments of one attribute.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) flavor: Flavor,
    /// `None`: one per processor.
    pub(crate) workers: Option<usize>,
    /// Where egret is found; `None` is `::egret`.
    pub(crate) path: Option<TokenStream>,
}

impl Arguments {
    /// Those of an attribute without any.
    pub(crate) fn none(kind: Kind) -> Self {
        match kind {
            Kind::Main => Self::default(),
            Kind::Test => Self { flavor: Flavor::CurrentThread, ..Self::default() },
        }
    }

    pub(crate) fn parse(kind: Kind, tokens: TokenStream) -> Result<Self> {
        let (mut flavor, mut workers, mut path) = (None, None, None);
        let tokens = visible(tokens);
        for argument in tokens.split(|token| is_punct(token, ',')) {
            let (name, value) = match argument {
                // Behind the last comma.
                [] => continue,
                [TokenTree::Ident(name), equals, value @ ..] if is_punct(equals, '=') => (name, value),
                [first, ..] => return Err(Error::new(first.span(), expected())),
            };
            let span = name.span();
            match name.to_string().as_str() {
                "flavor" => once(&mut flavor, name, self::flavor(span, value)?)?,
                "worker_threads" => once(&mut workers, name, count(span, value)?)?,
                "crate" => once(&mut path, name, self::path(span, value)?)?,
                known @ ("start_paused" | "unhandled_panic" | "name") => {
                    return Err(Error::new(
                        span,
                        format!("`{known}`: egret does not have this. {}", expected()),
                    ));
                }
                unknown => {
                    return Err(Error::new(span, format!("unknown argument `{unknown}`. {}", expected())));
                }
            }
        }
        let flavor = match (flavor, workers) {
            (None, None) => Self::none(kind).flavor,
            (None, Some(_)) => Flavor::MultiThread,
            (Some((Flavor::CurrentThread, span)), Some(_)) => {
                return Err(Error::new(span, "`current_thread` has no worker threads to be counted"));
            }
            (Some((flavor, _)), _) => flavor,
        };
        Ok(Self { flavor, workers, path })
    }
}

fn expected() -> String {
    "Expected `flavor = \"multi_thread\"`, `flavor = \"current_thread\"`, `worker_threads = <number>` or `crate = \"path\"`"
        .to_owned()
}

/// Keeps an argument, unless there is one by this name.
fn once<T>(place: &mut Option<T>, name: &proc_macro2::Ident, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(name.span(), format!("`{name}` is set twice"))),
    }
}

/// The text of a string literal. Without escapes, which no value has.
fn string(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    let text = literal.to_string();
    Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

fn flavor(name: Span, value: &[TokenTree]) -> Result<(Flavor, Span)> {
    let wrong = "`flavor` takes a string: `flavor = \"current_thread\"`";
    let [value] = value else { return Err(Error::new(name, wrong)) };
    let span = value.span();
    match string(value).as_deref() {
        Some("multi_thread") => Ok((Flavor::MultiThread, span)),
        Some("current_thread") => Ok((Flavor::CurrentThread, span)),
        Some(other) => Err(Error::new(
            span,
            format!("there is no flavour `{other}`; there are `multi_thread` and `current_thread`"),
        )),
        None => Err(Error::new(span, wrong)),
    }
}

fn count(name: Span, value: &[TokenTree]) -> Result<usize> {
    let wrong = "`worker_threads` takes a number: `worker_threads = 4`";
    let [value] = value else { return Err(Error::new(name, wrong)) };
    let TokenTree::Literal(literal) = value else { return Err(Error::new(value.span(), wrong)) };
    let text = literal.to_string().replace('_', "");
    match text.strip_suffix("usize").unwrap_or(&text).parse() {
        Ok(0) => {
            Err(Error::new(value.span(), "`worker_threads` can't be 0: a runtime has at least one worker"))
        }
        Ok(count) => Ok(count),
        Err(_not_a_number) => Err(Error::new(value.span(), wrong)),
    }
}

fn path(name: Span, value: &[TokenTree]) -> Result<TokenStream> {
    let wrong = || Error::new(name, "`crate` takes a path: `crate = \"my::egret\"`");
    let tokens: Vec<TokenTree> = match value {
        [value @ TokenTree::Literal(_)] => {
            let text = string(value).ok_or_else(wrong)?;
            let tokens: TokenStream = text.parse().map_err(|_not_tokens| wrong())?;
            // Found where the attribute stands, as if it were written there.
            let at = |mut token: TokenTree| {
                token.set_span(value.span().resolved_at(Span::call_site()));
                token
            };
            tokens.into_iter().map(at).collect()
        }
        tokens => tokens.to_vec(),
    };
    let belongs = |token: &TokenTree| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':');
    if tokens.iter().all(belongs) && matches!(tokens.last(), Some(TokenTree::Ident(_))) {
        Ok(tokens.into_iter().collect())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<Arguments> {
        Arguments::parse(kind, text.parse().unwrap())
    }

    #[test]
    fn what_tokio_takes_is_taken() {
        use Flavor::{CurrentThread, MultiThread};
        let found = |kind, text| {
            let Arguments { flavor, workers, .. } = parse(kind, text).unwrap();
            (flavor, workers)
        };
        assert_eq!(found(Kind::Main, ""), (MultiThread, None));
        assert_eq!(found(Kind::Main, "flavor = \"multi_thread\""), (MultiThread, None));
        let both = "flavor = \"multi_thread\", worker_threads = 4,";
        assert_eq!(found(Kind::Main, both), (MultiThread, Some(4)));
        assert_eq!(found(Kind::Main, "worker_threads = 1_0usize"), (MultiThread, Some(10)));
        assert_eq!(found(Kind::Main, "flavor = \"current_thread\""), (CurrentThread, None));
        assert_eq!(found(Kind::Test, ""), (CurrentThread, None));
        assert_eq!(found(Kind::Test, "flavor = \"multi_thread\""), (MultiThread, None));
        assert_eq!(found(Kind::Test, "worker_threads = 3"), (MultiThread, Some(3)));
        for text in ["crate = \"a::b\"", "crate = a::b"] {
            let found = parse(Kind::Main, text).unwrap().path.unwrap().to_string();
            assert_eq!(found.replace(' ', ""), "a::b");
        }
        assert_eq!(found(Kind::Test, "crate = \"a\""), (CurrentThread, None));
    }

    #[test]
    fn every_mistake_is_told_by_its_name() {
        for (text, told) in [
            ("flavor = \"current_thread\", worker_threads = 2", "has no worker threads to be counted"),
            ("flavor = \"basic\"", "there is no flavour `basic`"),
            ("flavor = multi_thread", "`flavor` takes a string"),
            ("flavor =", "`flavor` takes a string"),
            ("worker_threads = 0", "can't be 0"),
            ("worker_threads = -1", "takes a number"),
            ("worker_threads = \"4\"", "takes a number"),
            ("worker_threads = 4u8", "takes a number"),
            ("worker_threads = N", "takes a number"),
            ("worker_threads = 1, worker_threads = 2", "`worker_threads` is set twice"),
            ("start_paused = true", "egret does not have this"),
            ("workers = 2", "unknown argument `workers`"),
            ("multi_thread", "Expected `flavor = "),
            ("4", "Expected `flavor = "),
            ("crate = \"a b(\"", "`crate` takes a path"),
            ("crate = 4", "`crate` takes a path"),
            ("crate = \"\"", "`crate` takes a path"),
        ] {
            let error = parse(Kind::Main, text).unwrap_err();
            assert!(error.message().contains(told), "{text}: {}", error.message());
        }
    }
}
