//! The parts of an `async fn` that takes nothing.
//!
//! ```text
//!   #[attribute].. │ pub(in ..) │ async fn │ name │ () │ -> Type where .. │ { .. }
//!   attributes       visibility              name        returns           body
//! ```

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::error::{Error, Result, is_punct, visible};

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) attributes: TokenStream,
    /// Where an attribute makes it a test already.
    pub(crate) test: Option<Span>,
    pub(crate) visibility: TokenStream,
    pub(crate) name: Ident,
    /// All between the arguments and the body.
    pub(crate) returns: TokenStream,
    pub(crate) body: Group,
}

impl Function {
    pub(crate) fn parse(item: TokenStream) -> Result<Self> {
        let tokens = visible(item);
        let mut rest = &tokens[..];

        let mut attributes = TokenStream::new();
        let mut test = None;
        while let [hash, TokenTree::Group(brackets), behind @ ..] = rest
            && is_punct(hash, '#')
        {
            if is_test(brackets) {
                test = Some(brackets.span());
            }
            attributes.extend(rest[..2].iter().cloned());
            rest = behind;
        }

        let mut visibility = TokenStream::new();
        if let [public, behind @ ..] = rest
            && is_word(public, "pub")
        {
            visibility.extend([public.clone()]);
            rest = behind;
            if let [TokenTree::Group(place), behind @ ..] = rest {
                visibility.extend([TokenTree::from(place.clone())]);
                rest = behind;
            }
        }

        rest = qualifiers(rest)?;
        let [TokenTree::Ident(name), behind @ ..] = rest else {
            return Err(not_a_function(rest));
        };
        let behind = match behind {
            [TokenTree::Group(arguments), behind @ ..] if arguments.stream().is_empty() => behind,
            [TokenTree::Group(arguments), ..] => {
                let told = "the function can't have arguments: there is nobody to pass them";
                return Err(Error::new(arguments.span(), told));
            }
            [angle, ..] if is_punct(angle, '<') => {
                let told = "the function can't be generic: there is nobody to choose the type";
                return Err(Error::new(angle.span(), told));
            }
            rest => return Err(not_a_function(rest)),
        };
        match behind.split_last() {
            Some((TokenTree::Group(body), returns)) if body.delimiter() == Delimiter::Brace => Ok(Self {
                attributes,
                test,
                visibility,
                name: name.clone(),
                returns: returns.iter().cloned().collect(),
                body: body.clone(),
            }),
            _ => Err(Error::new(name.span(), "the function has no body")),
        }
    }
}

/// Goes past `async fn`; anything more or less is a mistake.
fn qualifiers(mut rest: &[TokenTree]) -> Result<&[TokenTree]> {
    let mut is_async = false;
    loop {
        match rest {
            [token, behind @ ..] if is_word(token, "fn") => {
                return match is_async {
                    true => Ok(behind),
                    false => Err(Error::new(
                        token.span(),
                        "the `async` keyword is missing from the function declaration",
                    )),
                };
            }
            [token, behind @ ..] if is_word(token, "async") => {
                is_async = true;
                rest = behind;
            }
            [token, ..] if ["const", "unsafe", "extern"].iter().any(|word| is_word(token, word)) => {
                let told = format!("the function can't be `{token}`");
                return Err(Error::new(token.span(), told));
            }
            rest => return Err(not_a_function(rest)),
        }
    }
}

fn not_a_function(rest: &[TokenTree]) -> Error {
    let span = rest.first().map_or_else(Span::call_site, TokenTree::span);
    Error::new(span, "this attribute goes on an `async fn`")
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// Whether these are the brackets of `#[test]` or `#[some::test]`, with or without arguments.
fn is_test(brackets: &Group) -> bool {
    let in_path = |token: &TokenTree| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':');
    let last = brackets.stream().into_iter().take_while(in_path).last();
    last.is_some_and(|token| is_word(&token, "test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Function> {
        Function::parse(text.parse().unwrap())
    }

    #[test]
    fn its_parts_are_found() {
        let text = "/// Docs\n #[cfg(all(unix, test))] #[allow(x)] pub(in a::b) async fn r#do() \
                    -> Result<Vec<{ 1 + 1 }>, [u8; { 2 }]> where u8: Copy { body { } }";
        let found = parse(text).unwrap();
        assert_eq!(found.attributes.into_iter().count(), 6);
        assert!(found.test.is_none());
        assert_eq!(found.visibility.to_string().replace(' ', ""), "pub(ina::b)");
        assert_eq!(found.name.to_string(), "r#do");
        assert!(found.returns.to_string().ends_with("where u8 : Copy"), "{}", found.returns);
        assert_eq!(found.body.to_string().replace(' ', ""), "{body{}}");
    }

    #[test]
    fn a_test_is_known_by_any_path() {
        for (attribute, is_one) in [
            ("#[test]", true),
            ("#[::core::prelude::v1::test]", true),
            ("#[egret::test(worker_threads = 2)]", true),
            ("#[cfg(test)]", false),
            ("#[testing]", false),
            ("#[allow(unused)] #[test] #[ignore]", true),
        ] {
            let found = parse(&format!("{attribute} async fn a() {{}}")).unwrap();
            assert_eq!(found.test.is_some(), is_one, "{attribute}");
        }
    }

    #[test]
    fn what_a_macro_wrapped_invisibly_is_seen() {
        let invisible =
            |text: &str| TokenTree::from(Group::new(Delimiter::None, text.parse::<TokenStream>().unwrap()));
        let item: TokenStream = [
            invisible("pub"),
            invisible("async fn"),
            invisible("name"),
            TokenTree::from(Group::new(Delimiter::Parenthesis, TokenStream::new())),
            invisible("{ 1 }"),
        ]
        .into_iter()
        .collect();
        let found = Function::parse(item).unwrap();
        assert_eq!((found.visibility.to_string().as_str(), found.name.to_string().as_str()), ("pub", "name"));
    }

    #[test]
    fn every_mistake_is_told_by_its_name() {
        for (text, told) in [
            ("fn main() {}", "`async` keyword is missing"),
            ("pub fn main() {}", "`async` keyword is missing"),
            ("async fn main(x: u8) {}", "can't have arguments"),
            ("async fn run(&self) {}", "can't have arguments"),
            ("async fn main<T>() {}", "can't be generic"),
            ("async unsafe fn main() {}", "can't be `unsafe`"),
            ("const async fn main() {}", "can't be `const`"),
            ("async extern \"C\" fn main() {}", "can't be `extern`"),
            ("async fn main();", "has no body"),
            ("struct Main;", "goes on an `async fn`"),
            ("async {}", "goes on an `async fn`"),
            ("", "goes on an `async fn`"),
            ("async fn", "goes on an `async fn`"),
            ("async fn main", "goes on an `async fn`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains(told), "{text}: {}", error.message());
        }
    }
}
