//! Tokens to a tree: Jinja2's grammar with dbt's tags.

use std::sync::Arc;

use super::ast::{Body, Expr};
use super::lexer::{Token, tokenize};
use crate::error::{Error, ErrorKind};
use crate::source::{Loc, Source, Span};

pub(super) type Result<T> = std::result::Result<T, Error>;

pub(crate) fn parse(source: &Arc<Source>, start: usize, end: usize) -> Result<Body> {
    parse_with(source, start, end, false)
}

/// The same for a file of macros: an unknown tag between them is left out.
pub(crate) fn parse_library(source: &Arc<Source>) -> Result<Body> {
    parse_with(source, 0, source.text().len(), true)
}

fn parse_with(source: &Arc<Source>, start: usize, end: usize, library: bool) -> Result<Body> {
    let tokens = tokenize(source, start, end)?;
    let mut parser = Parser::new(source, tokens);
    parser.library = library;
    let body = parser.body(&[], None)?;
    parser.check_names()?;
    Ok(body)
}

/// Parses a text that is one expression and nothing else.
pub(crate) fn parse_expression(source: &Arc<Source>) -> Result<Expr> {
    // The space keeps a leading minus from being read as white space control.
    const OPEN: &str = "{{ ";
    let wrapped = Source::new(source.name(), format!("{OPEN}{}\n}}}}", source.text()));
    let moved = |loc: Loc| Loc {
        start: loc.start.saturating_sub(OPEN.len() as u32),
        end: loc.end.saturating_sub(OPEN.len() as u32).min(source.text().len() as u32),
    };
    let tokens = tokenize(&wrapped, 0, wrapped.text().len()).map_err(|error| {
        let place = error.span().map(|span| moved(Loc::new(span.start(), span.end())));
        error.with_span(Span::at(source, place.unwrap_or_default()))
    })?;
    let tokens = tokens.into_iter().map(|(token, loc)| (token, moved(loc))).collect();
    let mut parser = Parser::new(source, tokens);
    parser.expect(&Token::VariableBegin)?;
    let expr = parser.tuple(true, &[], false)?;
    parser.expect(&Token::VariableEnd)?;
    parser.expect(&Token::End)?;
    parser.check_names()?;
    Ok(expr)
}

pub(super) struct Parser<'s> {
    pub(super) source: &'s Arc<Source>,
    pub(super) tokens: Vec<(Token<'s>, Loc)>,
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) blocks: usize,
    /// Within a condition unknown filters are left for the render to report, as in Jinja2.
    pub(super) soft: usize,
    /// The other unknown filters and tests.
    pub(super) unknown: Vec<Error>,
    // Counts of names met so far, to know what a body uses.
    pub(super) loops: usize,
    pub(super) callers: usize,
    pub(super) varargs: usize,
    pub(super) kwargs: usize,
    /// `for` bodies around, for `break` and `continue`.
    pub(super) inside_for: usize,
    /// A file of macros, of which only these count.
    pub(super) library: bool,
}

impl<'s> Parser<'s> {
    pub(super) fn new(source: &'s Arc<Source>, tokens: Vec<(Token<'s>, Loc)>) -> Self {
        Self {
            source,
            tokens,
            at: 0,
            depth: 0,
            blocks: 0,
            soft: 0,
            unknown: Vec::new(),
            loops: 0,
            callers: 0,
            varargs: 0,
            kwargs: 0,
            inside_for: 0,
            library: false,
        }
    }

    pub(super) fn current(&self) -> &Token<'s> {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    pub(super) fn ahead(&self) -> &Token<'s> {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    pub(super) fn loc(&self) -> Loc {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    /// The place of the token before the current one.
    pub(super) fn last(&self) -> Loc {
        self.tokens[self.at.saturating_sub(1)].1
    }

    pub(super) fn advance(&mut self) -> (Token<'s>, Loc) {
        let index = self.at.min(self.tokens.len() - 1);
        self.at += 1;
        let loc = self.tokens[index].1;
        if index + 1 == self.tokens.len() {
            return (Token::End, loc);
        }
        (std::mem::replace(&mut self.tokens[index].0, Token::BlockEnd), loc)
    }

    pub(super) fn fail(&self, message: impl Into<String>, loc: Loc) -> Error {
        Error::new(ErrorKind::Syntax, message).with_span(Span::at(self.source, loc))
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let found = self.current().describe();
        if *self.current() == Token::End {
            return self.fail(format!("unexpected end of template, expected {wanted}"), self.loc());
        }
        self.fail(format!("expected {wanted}, got '{found}'"), self.loc())
    }

    pub(super) fn is_operator(&self, symbol: &str) -> bool {
        matches!(self.current(), Token::Operator(found) if *found == symbol)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.current(), Token::Name(found) if *found == name)
    }

    pub(super) fn skip_operator(&mut self, symbol: &str) -> bool {
        let found = self.is_operator(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, token: &Token<'static>) -> Result<Loc> {
        if self.current() == token {
            return Ok(self.advance().1);
        }
        Err(self.unexpected(&format!("'{}'", token.describe())))
    }

    pub(super) fn expect_operator(&mut self, symbol: &'static str) -> Result<Loc> {
        self.expect(&Token::Operator(symbol))
    }

    pub(super) fn expect_name(&mut self) -> Result<(&'s str, Loc)> {
        if let Token::Name(name) = *self.current() {
            let loc = self.advance().1;
            return Ok((name, loc));
        }
        Err(self.unexpected("a name"))
    }

    pub(super) fn check_names(&mut self) -> Result<()> {
        if self.unknown.is_empty() { Ok(()) } else { Err(self.unknown.swap_remove(0)) }
    }
}
