//! From template text to a tree.

pub(crate) mod ast;
pub(crate) mod lexer;
pub(crate) mod parser;
