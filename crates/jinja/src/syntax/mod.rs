//! From template text to a tree.

pub(crate) mod ast;
mod expressions;
pub(crate) mod lexer;
pub(crate) mod parser;
mod statements;
