//! dbt's dialect of Jinja2: template text and values in, text or values out.
//!
//! **Takes** the text of a template ([`Source`]), a [`Host`] that answers free names (`ref`,
//! `config`, macros of other files, ...) and a [`Budget`].
//!
//! **Gives** rendered text ([`Template::render`]), typed values as dbt's native environment does
//! for YAML ([`Template::eval_native`]), and what can be known without rendering: the blocks a
//! file defines ([`Template::definitions`]) and its literal calls of `ref`, `source`, `config`
//! and `var` ([`Template::static_calls`]).
//!
//! **On failure** there is one [`Error`] with kind, message, place, macro stack and often a hint.
//! Nothing panics on bad text, nothing runs for ever, grows without limit or overflows the stack,
//! and a template reaches no file, network or clock but through the host.
//!
//! ```
//! use tidemill_jinja::{Options, Source, Template, Value};
//!
//! let source = Source::new("models/orders.sql", "select * from {{ ref('stg_orders') }}\n");
//! let template = Template::parse(&source)?;
//! let relation = Value::function("ref", |args, _| {
//!     Ok(Value::from(format!("main.{}", args.positional()[0])))
//! });
//! let host = |name: &str| (name == "ref").then(|| relation.clone());
//! assert_eq!(template.render(&host, &Options::default())?, "select * from main.stg_orders");
//! # Ok::<(), tidemill_jinja::Error>(())
//! ```

mod analysis;
mod budget;
mod error;
mod filters;
mod function;
mod functions;
mod host;
mod json;
mod literal;
mod macros;
pub mod modules;
mod native;
mod nearest;
mod object;
mod predicates;
mod render;
mod source;
mod state;
mod syntax;
mod template;
mod text;
mod types;
mod value;

pub use analysis::{MacroCall, StaticArg, StaticCall, StaticCalls};
pub use budget::Budget;
pub use error::{Error, ErrorKind, Frame};
pub use function::{Args, BoundMethod, Function};
pub use host::{Host, NoHost};
pub use json::{dumps as to_json_text, loads as from_json_text};
pub use literal::literal_eval;
pub use macros::Macro;
pub use object::Object;
pub use source::{Position, Source, Span};
pub use state::State;
pub use template::{
    Definition, DefinitionKind, Expression, Options, ParameterInfo, Template, docs_blocks,
};
pub use types::set::Set;
pub use value::{Dict, List, Str, Tuple, Undefined, Value, ValueIter};
