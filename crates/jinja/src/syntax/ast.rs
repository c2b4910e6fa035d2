//! The tree of a template. Every node knows its place in the text.

use std::sync::Arc;

use crate::source::{Loc, Source};
use crate::value::{BinaryOp, Value};

pub(crate) type Body = Vec<Node>;

pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) loc: Loc,
}

pub(crate) enum NodeKind {
    Text(Box<str>),
    Emit(Expr),
    Print(Vec<Expr>),
    If {
        branches: Vec<(Expr, Body)>,
        otherwise: Body,
    },
    For(Arc<For>),
    Set {
        target: Target,
        value: Expr,
    },
    SetBlock {
        target: Target,
        filters: Vec<FilterCall>,
        body: Body,
    },
    With {
        bindings: Vec<(Target, Expr)>,
        body: Body,
    },
    /// A body with its own variables (`block`, `autoescape`).
    Scoped(Body),
    Macro(Arc<MacroDef>),
    CallBlock {
        call: Expr,
        caller: Arc<MacroDef>,
    },
    FilterBlock {
        filters: Vec<FilterCall>,
        body: Body,
    },
    Do(Expr),
    Break,
    Continue,
    /// `snapshot` and `docs` blocks: known to [`definitions`](crate::Template::definitions).
    Definition(Box<BlockDef>),
}

pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) items: Expr,
    pub(crate) condition: Option<Expr>,
    pub(crate) recursive: bool,
    pub(crate) body: Body,
    pub(crate) otherwise: Body,
    /// Whether anything in it names `loop`.
    pub(crate) uses_loop: bool,
}

pub(crate) enum Target {
    Name(Arc<str>),
    Attribute(Arc<str>, Arc<str>),
    Tuple(Vec<Target>),
}

/// What a block that is kept as a macro was declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MacroKind {
    Macro,
    Test,
    Materialization,
    Caller,
}

pub(crate) struct Parameter {
    pub(crate) name: Arc<str>,
    pub(crate) default: Option<Expr>,
}

/// A macro, test, materialization or call block.
pub(crate) struct MacroDef {
    pub(crate) kind: MacroKind,
    /// The name it is found by (`test_x`, `materialization_x_default`).
    pub(crate) name: Arc<str>,
    /// The name as written.
    pub(crate) declared: Arc<str>,
    pub(crate) adapter: Option<Arc<str>>,
    pub(crate) languages: Vec<Arc<str>>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Body,
    pub(crate) uses_caller: bool,
    pub(crate) uses_varargs: bool,
    pub(crate) uses_kwargs: bool,
    pub(crate) source: Arc<Source>,
    pub(crate) name_loc: Loc,
    /// From the opening to the closing tag, both included.
    pub(crate) loc: Loc,
    pub(crate) body_loc: Loc,
}

pub(crate) struct BlockDef {
    pub(crate) is_snapshot: bool,
    pub(crate) name: Arc<str>,
    pub(crate) name_loc: Loc,
    pub(crate) loc: Loc,
    pub(crate) body_loc: Loc,
    /// Empty for docs, whose text is not a template of this file.
    pub(crate) body: Body,
}

pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) loc: Loc,
    /// Height of the tree below, so that walking it cannot exhaust the stack.
    pub(crate) height: u16,
}

impl Expr {
    pub(crate) fn new(kind: ExprKind, loc: Loc) -> Self {
        let mut height = 0;
        kind.each_child(&mut |child| height = height.max(child.height));
        Self { kind, loc, height: height.saturating_add(1) }
    }
}

impl ExprKind {
    /// Visits the direct parts of an expression.
    pub(crate) fn each_child<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match self {
            ExprKind::Const(_) | ExprKind::Name(_) => {}
            ExprKind::List(items) | ExprKind::Tuple(items) | ExprKind::Concat(items) => {
                items.iter().for_each(visit);
            }
            ExprKind::Dict(entries) => {
                for (key, value) in entries {
                    visit(key);
                    visit(value);
                }
            }
            ExprKind::Binary(_, left, right)
            | ExprKind::And(left, right)
            | ExprKind::Or(left, right)
            | ExprKind::Item(left, right) => {
                visit(left);
                visit(right);
            }
            ExprKind::Negative(inner)
            | ExprKind::Positive(inner)
            | ExprKind::Not(inner)
            | ExprKind::Attribute(inner, _) => visit(inner),
            ExprKind::Compare(first, rest) => {
                visit(first);
                rest.iter().for_each(|(_, operand)| visit(operand));
            }
            ExprKind::Condition { test, then, otherwise } => {
                visit(test);
                visit(then);
                otherwise.iter().for_each(|expr| visit(expr));
            }
            ExprKind::Slice(owner, bounds) => {
                visit(owner);
                bounds.iter().flatten().for_each(visit);
            }
            ExprKind::Call(call) => {
                visit(&call.callee);
                call.args.exprs().for_each(visit);
            }
            ExprKind::Filter(value, call) | ExprKind::Test { value, test: call, .. } => {
                visit(value);
                call.args.exprs().for_each(visit);
            }
        }
    }
}

pub(crate) enum ExprKind {
    Const(Value),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Concat(Vec<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    Condition { test: Box<Expr>, then: Box<Expr>, otherwise: Option<Box<Expr>> },
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Call>),
    Filter(Box<Expr>, Box<FilterCall>),
    Test { value: Box<Expr>, test: Box<FilterCall>, negated: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

pub(crate) struct Call {
    pub(crate) callee: Expr,
    pub(crate) args: CallArgs,
}

#[derive(Default)]
pub(crate) struct CallArgs {
    pub(crate) positional: Vec<Expr>,
    pub(crate) keyword: Vec<(Arc<str>, Expr)>,
    pub(crate) spread: Option<Box<Expr>>,
    pub(crate) keyword_spread: Option<Box<Expr>>,
}

impl CallArgs {
    pub(crate) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.positional
            .iter()
            .chain(self.keyword.iter().map(|(_, value)| value))
            .chain(self.spread.as_deref())
            .chain(self.keyword_spread.as_deref())
    }
}

/// A filter or a test with its arguments.
pub(crate) struct FilterCall {
    pub(crate) name: Arc<str>,
    pub(crate) args: CallArgs,
    pub(crate) loc: Loc,
}
