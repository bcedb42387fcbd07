//! What is wrong with the code under an attribute, and where.

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// One mistake. Shown by the compiler like its own.
#[derive(Debug)]
pub(crate) struct Error {
    span: Span,
    message: String,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// `::core::compile_error! { "message" }`, all of it at the place of the mistake.
    pub(crate) fn into_tokens(self) -> TokenStream {
        let mut message = Literal::string(&self.message);
        message.set_span(self.span);
        let mut braces = Group::new(Delimiter::Brace, TokenTree::from(message).into());
        braces.set_span(self.span);
        let punct = |character, spacing| {
            let mut punct = Punct::new(character, spacing);
            punct.set_span(self.span);
            TokenTree::from(punct)
        };
        let name = |text| TokenTree::from(Ident::new(text, self.span));
        [
            punct(':', Spacing::Joint),
            punct(':', Spacing::Alone),
            name("core"),
            punct(':', Spacing::Joint),
            punct(':', Spacing::Alone),
            name("compile_error"),
            punct('!', Spacing::Alone),
            braces.into(),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
impl Error {
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// The tokens, without the invisible groups around what a `macro_rules!` macro passed on.
pub(crate) fn visible(tokens: TokenStream) -> Vec<TokenTree> {
    let mut all = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                all.extend(visible(group.stream()));
            }
            token => all.push(token),
        }
    }
    all
}

/// Whether it is this punctuation mark.
pub(crate) fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
