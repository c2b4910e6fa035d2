//! The grammar of expressions.

use std::sync::Arc;

use super::ast::{Call, CallArgs, CompareOp, Expr, ExprKind, FilterCall};
use super::lexer::Token;
use super::parser::{Parser, Result};
use crate::source::{Loc, Span};
use crate::value::{BinaryOp, Value};
use crate::{filters, predicates};

/// Parentheses, brackets and inner expressions within one another.
const NESTING: usize = 150;
/// Height of an expression's tree, long chains of operators included.
const HEIGHT: u16 = 1000;

impl Parser<'_> {
    pub(super) fn nest(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > NESTING {
            return Err(
                self.fail(format!("the expression is nested more than {NESTING} deep"), self.loc())
            );
        }
        Ok(())
    }

    pub(super) fn make(&self, kind: ExprKind, loc: Loc) -> Result<Expr> {
        let expr = Expr::new(kind, loc);
        if expr.height > HEIGHT {
            return Err(self.fail("the expression is too long; split it up", loc));
        }
        Ok(expr)
    }

    pub(super) fn is_tuple_end(&self, ends: &[&str]) -> bool {
        match self.current() {
            Token::VariableEnd | Token::BlockEnd | Token::End => true,
            Token::Operator(symbol) => matches!(*symbol, ")" | "=" | ":"),
            Token::Name(name) => ends.contains(name),
            _ => false,
        }
    }

    pub(super) fn tuple(
        &mut self,
        conditional: bool,
        ends: &[&str],
        parenthesized: bool,
    ) -> Result<Expr> {
        let start = self.loc();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            items.push(if conditional { self.expression()? } else { self.unconditional()? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(item) = items.pop() {
                return Ok(item);
            }
            if !parenthesized {
                return Err(self.unexpected("an expression"));
            }
        }
        let loc = start.to(self.last());
        self.make(ExprKind::Tuple(items), loc)
    }

    pub(super) fn unconditional(&mut self) -> Result<Expr> {
        self.nest()?;
        let expr = stacker::maybe_grow(128 << 10, 1 << 20, || self.or());
        self.depth -= 1;
        expr
    }

    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nest()?;
        let expr = stacker::maybe_grow(128 << 10, 1 << 20, || self.conditional());
        self.depth -= 1;
        expr
    }

    pub(super) fn conditional(&mut self) -> Result<Expr> {
        let unknown = self.unknown.len();
        let mut expr = self.or()?;
        while self.skip_name("if") {
            self.unknown.truncate(unknown);
            self.soft += 1;
            let test = self.or()?;
            let otherwise =
                if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            self.soft -= 1;
            let loc = expr.loc.to(self.last());
            expr = self.make(
                ExprKind::Condition { test: Box::new(test), then: Box::new(expr), otherwise },
                loc,
            )?;
        }
        Ok(expr)
    }

    pub(super) fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            let loc = left.loc.to(right.loc);
            left = self.make(ExprKind::Or(Box::new(left), Box::new(right)), loc)?;
        }
        Ok(left)
    }

    pub(super) fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            let loc = left.loc.to(right.loc);
            left = self.make(ExprKind::And(Box::new(left), Box::new(right)), loc)?;
        }
        Ok(left)
    }

    pub(super) fn not(&mut self) -> Result<Expr> {
        if !self.is_name("not") {
            return self.comparison();
        }
        let start = self.advance().1;
        self.nest()?;
        let inner = stacker::maybe_grow(128 << 10, 1 << 20, || self.not())?;
        self.depth -= 1;
        let loc = start.to(inner.loc);
        self.make(ExprKind::Not(Box::new(inner)), loc)
    }

    pub(super) fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.current() {
                Token::Operator("==") => CompareOp::Equal,
                Token::Operator("!=") => CompareOp::NotEqual,
                Token::Operator("<") => CompareOp::Less,
                Token::Operator("<=") => CompareOp::LessEqual,
                Token::Operator(">") => CompareOp::Greater,
                Token::Operator(">=") => CompareOp::GreaterEqual,
                Token::Name("in") => CompareOp::In,
                Token::Name("not") if *self.ahead() == Token::Name("in") => {
                    self.advance();
                    CompareOp::NotIn
                }
                _ => break,
            };
            self.advance();
            rest.push((operator, self.sum()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let loc = first.loc.to(self.last());
        self.make(ExprKind::Compare(Box::new(first), rest), loc)
    }

    pub(super) fn sum(&mut self) -> Result<Expr> {
        let mut left = self.concatenation()?;
        loop {
            let op = match self.current() {
                Token::Operator("+") => BinaryOp::Add,
                Token::Operator("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.concatenation()?;
            left = self.binary(op, left, right)?;
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, left: Expr, right: Expr) -> Result<Expr> {
        let loc = left.loc.to(right.loc);
        self.make(ExprKind::Binary(op, Box::new(left), Box::new(right)), loc)
    }

    pub(super) fn concatenation(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_operator("~") {
            return Ok(first);
        }
        let start = first.loc;
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        let loc = start.to(self.last());
        self.make(ExprKind::Concat(parts), loc)
    }

    pub(super) fn product(&mut self) -> Result<Expr> {
        let mut left = self.power()?;
        loop {
            let op = match self.current() {
                Token::Operator("*") => BinaryOp::Mul,
                Token::Operator("/") => BinaryOp::Div,
                Token::Operator("//") => BinaryOp::FloorDiv,
                Token::Operator("%") => BinaryOp::Mod,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.power()?;
            left = self.binary(op, left, right)?;
        }
    }

    /// Left to right, as Jinja2 parses it (Python itself goes right to left).
    pub(super) fn power(&mut self) -> Result<Expr> {
        let mut left = self.unary(true)?;
        while self.skip_operator("**") {
            let right = self.unary(true)?;
            left = self.binary(BinaryOp::Pow, left, right)?;
        }
        Ok(left)
    }

    pub(super) fn unary(&mut self, with_filters: bool) -> Result<Expr> {
        let negative = self.is_operator("-");
        let mut expr = if negative || self.is_operator("+") {
            let start = self.advance().1;
            self.nest()?;
            let inner = stacker::maybe_grow(128 << 10, 1 << 20, || self.unary(false))?;
            self.depth -= 1;
            let loc = start.to(inner.loc);
            let inner = Box::new(inner);
            let kind = if negative { ExprKind::Negative(inner) } else { ExprKind::Positive(inner) };
            self.make(kind, loc)?
        } else {
            self.primary()?
        };
        expr = self.postfix(expr)?;
        if with_filters {
            expr = self.filters_and_tests(expr)?;
        }
        Ok(expr)
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        let loc = self.loc();
        let kind = match self.current() {
            Token::Name(_) => {
                let (name, _) = self.expect_name()?;
                match name {
                    "true" | "True" => ExprKind::Const(Value::Bool(true)),
                    "false" | "False" => ExprKind::Const(Value::Bool(false)),
                    "none" | "None" => ExprKind::Const(Value::None),
                    _ => {
                        match name {
                            "loop" => self.loops += 1,
                            "caller" => self.callers += 1,
                            "varargs" => self.varargs += 1,
                            "kwargs" => self.kwargs += 1,
                            _ => {}
                        }
                        ExprKind::Name(name.into())
                    }
                }
            }
            Token::Text(_) => {
                let mut text = String::new();
                while let Token::Text(_) = self.current() {
                    if let (Token::Text(part), _) = self.advance() {
                        if text.is_empty() {
                            text = part;
                        } else {
                            text.push_str(&part);
                        }
                    }
                }
                ExprKind::Const(Value::from(text))
            }
            Token::Int(number) => {
                let number = *number;
                self.advance();
                ExprKind::Const(Value::Int(number))
            }
            Token::Float(number) => {
                let number = *number;
                self.advance();
                ExprKind::Const(Value::Float(number))
            }
            Token::Operator("(") => {
                self.advance();
                let inner = self.tuple(true, &[], true)?;
                self.expect_operator(")")?;
                let mut inner = inner;
                inner.loc = loc.to(self.last());
                return Ok(inner);
            }
            Token::Operator("[") => {
                self.advance();
                let mut items = Vec::new();
                while !self.is_operator("]") {
                    if !items.is_empty() {
                        self.expect_operator(",")?;
                        if self.is_operator("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                self.expect_operator("]")?;
                ExprKind::List(items)
            }
            Token::Operator("{") => {
                self.advance();
                let mut entries = Vec::new();
                while !self.is_operator("}") {
                    if !entries.is_empty() {
                        self.expect_operator(",")?;
                        if self.is_operator("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_operator(":")?;
                    entries.push((key, self.expression()?));
                }
                self.expect_operator("}")?;
                ExprKind::Dict(entries)
            }
            Token::End => return Err(self.unexpected("an expression")),
            other => {
                let message = format!("unexpected '{}'", other.describe());
                return Err(self.fail(message, loc));
            }
        };
        let loc = loc.to(self.last());
        self.make(kind, loc)
    }

    pub(super) fn postfix(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            match self.current() {
                Token::Operator("." | "[") => expr = self.subscript(expr)?,
                Token::Operator("(") => expr = self.call(expr)?,
                _ => return Ok(expr),
            }
        }
    }

    pub(super) fn filters_and_tests(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            match self.current() {
                Token::Operator("|") => {
                    self.advance();
                    let filter = self.filter_call()?;
                    let loc = expr.loc.to(self.last());
                    expr = self.make(ExprKind::Filter(Box::new(expr), Box::new(filter)), loc)?;
                }
                Token::Name("is") => expr = self.test(expr)?,
                Token::Operator("(") => expr = self.call(expr)?,
                _ => return Ok(expr),
            }
        }
    }

    pub(super) fn dotted_name(&mut self) -> Result<(Arc<str>, Loc)> {
        let (name, mut loc) = self.expect_name()?;
        if !self.is_operator(".") {
            return Ok((name.into(), loc));
        }
        let mut full = name.to_string();
        while self.skip_operator(".") {
            let (part, end) = self.expect_name()?;
            full.push('.');
            full.push_str(part);
            loc = loc.to(end);
        }
        Ok((full.into(), loc))
    }

    pub(super) fn filter_call(&mut self) -> Result<FilterCall> {
        let (name, loc) = self.dotted_name()?;
        if self.soft == 0 && filters::find(&name).is_none() {
            self.unknown.push(filters::unknown(&name).with_span(Span::at(self.source, loc)));
        }
        let args = if self.is_operator("(") { self.call_args()? } else { CallArgs::default() };
        Ok(FilterCall { name, args, loc })
    }

    pub(super) fn filter_chain(&mut self, starts_bare: bool) -> Result<Vec<FilterCall>> {
        let mut filters = Vec::new();
        if starts_bare {
            filters.push(self.filter_call()?);
        }
        while self.skip_operator("|") {
            filters.push(self.filter_call()?);
        }
        Ok(filters)
    }

    pub(super) fn test(&mut self, value: Expr) -> Result<Expr> {
        self.advance();
        let negated = self.skip_name("not");
        let (name, loc) = self.dotted_name()?;
        if self.soft == 0 && predicates::find(&name).is_none() {
            self.unknown.push(predicates::unknown(&name).with_span(Span::at(self.source, loc)));
        }
        let args = match self.current() {
            Token::Operator("(") => self.call_args()?,
            Token::Name("is") => {
                return Err(self.fail("You cannot chain multiple tests with is", self.loc()));
            }
            Token::Name("else" | "or" | "and" | "if" | "in" | "not") => CallArgs::default(),
            Token::Name(_)
            | Token::Text(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::Operator("[" | "{") => {
                let argument = self.primary()?;
                let argument = self.postfix(argument)?;
                CallArgs { positional: vec![argument], ..CallArgs::default() }
            }
            _ => CallArgs::default(),
        };
        let place = value.loc.to(self.last());
        let test = Box::new(FilterCall { name, args, loc });
        self.make(ExprKind::Test { value: Box::new(value), test, negated }, place)
    }

    pub(super) fn subscript(&mut self, expr: Expr) -> Result<Expr> {
        if self.skip_operator(".") {
            let loc = self.loc();
            let kind = match self.current() {
                Token::Name(_) => {
                    let (name, _) = self.expect_name()?;
                    ExprKind::Attribute(Box::new(expr), name.into())
                }
                Token::Int(index) => {
                    let index = Value::Int(*index);
                    self.advance();
                    let key = Expr::new(ExprKind::Const(index), loc);
                    ExprKind::Item(Box::new(expr), Box::new(key))
                }
                _ => return Err(self.unexpected("a name or number")),
            };
            let start = match &kind {
                ExprKind::Attribute(inner, _) | ExprKind::Item(inner, _) => inner.loc,
                _ => loc,
            };
            return self.make(kind, start.to(loc));
        }
        self.expect_operator("[")?;
        let start = expr.loc;
        let mut keys = Vec::new();
        let mut slice = None;
        while !self.is_operator("]") {
            if !keys.is_empty() || slice.is_some() {
                self.expect_operator(",")?;
            }
            let first = if self.is_operator(":") { None } else { Some(self.expression()?) };
            if !self.skip_operator(":") {
                keys.extend(first);
                continue;
            }
            let part = |parser: &mut Self| -> Result<Option<Expr>> {
                let ends =
                    parser.is_operator(":") || parser.is_operator("]") || parser.is_operator(",");
                if ends { Ok(None) } else { parser.expression().map(Some) }
            };
            let stop = part(self)?;
            let step = if self.skip_operator(":") { part(self)? } else { None };
            slice = Some(Box::new([first, stop, step]));
        }
        let end = self.expect_operator("]")?;
        let loc = start.to(end);
        let owner = Box::new(expr);
        let kind = match (slice, keys.len()) {
            (Some(bounds), 0) => ExprKind::Slice(owner, bounds),
            (None, 1) => match keys.pop() {
                Some(key) => ExprKind::Item(owner, Box::new(key)),
                None => return Err(self.fail("expected subscript expression", loc)),
            },
            (None, 0) => return Err(self.fail("expected an expression in `[]`", loc)),
            (None, _) => {
                let key = self.make(ExprKind::Tuple(keys), loc)?;
                ExprKind::Item(owner, Box::new(key))
            }
            _ => return Err(self.fail("a slice of several dimensions is not supported", loc)),
        };
        self.make(kind, loc)
    }

    pub(super) fn call(&mut self, callee: Expr) -> Result<Expr> {
        let args = self.call_args()?;
        let loc = callee.loc.to(self.last());
        self.make(ExprKind::Call(Box::new(Call { callee, args })), loc)
    }

    pub(super) fn call_args(&mut self) -> Result<CallArgs> {
        let open = self.expect_operator("(")?;
        let mut args = CallArgs::default();
        let mut first = true;
        while !self.is_operator(")") {
            if !first {
                self.expect_operator(",")?;
                if self.is_operator(")") {
                    break;
                }
            }
            first = false;
            let invalid = "invalid syntax for function call expression";
            if self.is_operator("*") {
                if args.spread.is_some() || args.keyword_spread.is_some() {
                    return Err(self.fail(invalid, open));
                }
                self.advance();
                args.spread = Some(Box::new(self.expression()?));
            } else if self.is_operator("**") {
                if args.keyword_spread.is_some() {
                    return Err(self.fail(invalid, open));
                }
                self.advance();
                args.keyword_spread = Some(Box::new(self.expression()?));
            } else if let Token::Name(name) = *self.current()
                && *self.ahead() == Token::Operator("=")
            {
                let loc = self.loc();
                if args.keyword_spread.is_some() {
                    return Err(self.fail(invalid, open));
                }
                if args.keyword.iter().any(|(known, _)| &**known == name) {
                    return Err(self.fail(format!("keyword argument repeated: {name}"), loc));
                }
                self.advance();
                self.advance();
                let value = self.expression()?;
                args.keyword.push((name.into(), value));
            } else {
                if args.spread.is_some()
                    || args.keyword_spread.is_some()
                    || !args.keyword.is_empty()
                {
                    return Err(self
                        .fail(invalid, self.loc())
                        .with_hint("positional arguments come before keyword arguments"));
                }
                args.positional.push(self.expression()?);
            }
        }
        self.expect_operator(")")?;
        Ok(args)
    }
}
