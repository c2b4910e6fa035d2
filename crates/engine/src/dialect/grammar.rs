//! Text to a syntax tree, by the grammar of the system that it was written for.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{Expr, Statement};
use datafusion::sql::sqlparser::dialect::{
    BigQueryDialect, DatabricksDialect, Dialect, DuckDbDialect, GenericDialect, Precedence,
    RedshiftSqlDialect, SnowflakeDialect, SparkSqlDialect,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use tidemill_core::{Error, ErrorKind, Result, SqlDialect};

use crate::error::syntax;
use crate::grammar::{is_foreign_letter, place_of};
use crate::parse::{NESTING, bare_trims, columns_like_clauses, limit_chains, refuse_writes_inside};
use crate::syntax::call;

/// Databricks' grammar with what `sqlparser`'s leaves out of its strings: a backslash escapes there.
#[derive(Debug)]
struct Databricks(DatabricksDialect);

impl Dialect for Databricks {
    fn dialect(&self) -> TypeId {
        TypeId::of::<DatabricksDialect>()
    }
    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }
    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        self.0.is_delimited_identifier_start(letter)
    }
    fn is_identifier_start(&self, letter: char) -> bool {
        self.0.is_identifier_start(letter)
    }
    fn is_identifier_part(&self, letter: char) -> bool {
        self.0.is_identifier_part(letter)
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_table_versioning(&self) -> bool {
        true
    }
    fn supports_lambda_functions(&self) -> bool {
        true
    }
    fn supports_select_wildcard_except(&self) -> bool {
        true
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }
    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }
    fn supports_values_as_table_factor(&self) -> bool {
        true
    }
    fn supports_bang_not_operator(&self) -> bool {
        true
    }
    fn supports_cte_without_as(&self) -> bool {
        true
    }
    fn supports_projection_trailing_commas(&self) -> bool {
        true
    }
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }
    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        // `a div b`
        SparkSqlDialect {}.parse_infix(parser, left, precedence)
    }
}

/// DuckDB's grammar with `last_value(x ignore nulls)`.
#[derive(Debug)]
struct DuckDb {
    /// Whether `x -> y` is a function; `->` reaches into JSON otherwise.
    lambdas: bool,
}

/// `x glob 'a*'`, where the parser stands before `glob`.
fn is_glob(parser: &Parser) -> bool {
    matches!(&parser.peek_token_ref().token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("glob"))
        && !matches!(
            parser.peek_nth_token_ref(1).token,
            Token::Comma | Token::RParen | Token::SemiColon | Token::EOF
        )
        && !matches!(&parser.peek_nth_token_ref(1).token, Token::Word(word)
            if word.quote_style.is_none() && word.keyword != Keyword::NoKeyword)
}

impl Dialect for DuckDb {
    fn dialect(&self) -> TypeId {
        TypeId::of::<DuckDbDialect>()
    }
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match is_glob(parser) {
            true => Some(Ok(self.prec_value(Precedence::Like))),
            false => place_of(&parser.peek_token_ref().token).map(Ok),
        }
    }
    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if !is_glob(parser) {
            return None;
        }
        parser.advance_token();
        let pattern = parser.parse_subexpr(precedence);
        Some(pattern.map(|pattern| call("tidemill_glob", vec![left.clone(), pattern])))
    }
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }
    fn supports_trailing_commas(&self) -> bool {
        true
    }
    fn is_identifier_start(&self, letter: char) -> bool {
        DuckDbDialect {}.is_identifier_start(letter) || is_foreign_letter(letter)
    }
    fn is_identifier_part(&self, letter: char) -> bool {
        DuckDbDialect {}.is_identifier_part(letter) || is_foreign_letter(letter)
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_eq_operator(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }
    fn supports_dictionary_syntax(&self) -> bool {
        true
    }
    fn support_map_literal_syntax(&self) -> bool {
        true
    }
    fn supports_lambda_functions(&self) -> bool {
        self.lambdas
    }
    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }
    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
    fn supports_from_first_select(&self) -> bool {
        true
    }
    fn supports_order_by_all(&self) -> bool {
        true
    }
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }
    fn supports_notnull_operator(&self) -> bool {
        true
    }
    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }
    fn supports_select_wildcard_rename(&self) -> bool {
        true
    }
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
    fn supports_string_escape_constant(&self) -> bool {
        true
    }
}

fn grammar(dialect: SqlDialect, sql: &str) -> Box<dyn Dialect> {
    match dialect {
        SqlDialect::Snowflake => Box::new(SnowflakeDialect),
        SqlDialect::BigQuery => Box::new(BigQueryDialect),
        SqlDialect::DuckDb => Box::new(DuckDb { lambdas: has_lambdas(sql) }),
        SqlDialect::Databricks => Box::new(Databricks(DatabricksDialect)),
        SqlDialect::Redshift => Box::new(RedshiftSqlDialect {}),
        SqlDialect::Postgres => Box::new(GenericDialect {}),
    }
}

/// Whether a list's function that takes a function stands in a text.
fn has_lambdas(sql: &str) -> bool {
    let sql = sql.to_lowercase();
    let functions = [
        "_transform",
        "_filter",
        "_apply",
        "_reduce",
        "_select",
        "apply(",
        "reduce(",
        "lambda ",
        "columns(",
    ];
    let comprehension = sql.contains('[') && sql.contains(" for ");
    comprehension || functions.iter().any(|function| sql.contains(function))
}

/// The one query of a text, and its words.
pub(super) fn parse(sql: &str, dialect: SqlDialect) -> Result<(Statement, Vec<TokenWithSpan>)> {
    let (statement, tokens) = parse_any(sql, dialect)?;
    match &statement {
        Statement::Query(query) => refuse_writes_inside(query)?,
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("only queries are translated from {dialect}"),
            ));
        }
    }
    Ok((statement, tokens))
}

/// The one statement of a text in the engine's own grammar, and its words.
pub(super) fn parse_own(sql: &str) -> Result<(Statement, Vec<TokenWithSpan>)> {
    Ok((crate::parse::parse_one(sql)?, crate::parse::words(sql)?))
}

/// The one statement of a text, and its words.
pub(super) fn parse_any(sql: &str, dialect: SqlDialect) -> Result<(Statement, Vec<TokenWithSpan>)> {
    let grammar = grammar(dialect, sql);
    let mut tokens = Tokenizer::new(grammar.as_ref(), sql)
        .tokenize_with_location()
        .map_err(|error| syntax(&error.to_string()))?;
    columns_like_clauses(&mut tokens);
    bare_trims(&mut tokens);
    limit_chains(&tokens)?;
    match dialect {
        SqlDialect::BigQuery => {
            names_of_relations(&mut tokens);
            super::bigquery::written(&mut tokens);
        }
        SqlDialect::Databricks => names_of_relations(&mut tokens),
        SqlDialect::Snowflake => fold_capitals(&mut tokens),
        SqlDialect::DuckDb => {
            powers(&mut tokens);
            super::spoken::written(&mut tokens);
            super::turned::written(&mut tokens)?;
        }
        SqlDialect::Redshift => super::redshift::written(&mut tokens),
        SqlDialect::Postgres => {}
    }
    // What was written with functions of one value.
    let lambdas = tokens
        .iter()
        .any(|token| matches!(&token.token, Token::Word(word) if word.value == "lambda"));
    let grammar: Box<dyn Dialect> = match dialect {
        SqlDialect::DuckDb if lambdas => Box::new(DuckDb { lambdas }),
        _ => grammar,
    };
    let mut statements = Parser::new(grammar.as_ref())
        .with_recursion_limit(NESTING)
        .with_tokens_with_locations(tokens.clone())
        .parse_statements()
        .map_err(|error| syntax(&error.to_string()))?;
    let Some(statement) = statements.pop() else {
        return Err(Error::new(ErrorKind::Query, "there is no SQL statement in the text"));
    };
    if !statements.is_empty() {
        return Err(Error::new(
            ErrorKind::Query,
            "the text holds more than one SQL statement; give them one at a time",
        ));
    }
    Ok((statement, tokens))
}

/// `ref()` and `source()` give `"schema"."name"`, which is text in the SQL of these systems: where a
/// relation stands, and where a point joins two of them, such text is a name.
fn names_of_relations(tokens: &mut [TokenWithSpan]) {
    let says = |token: &Token| !matches!(token, Token::Whitespace(_));
    let places: Vec<usize> =
        (0..tokens.len()).filter(|place| says(&tokens[*place].token)).collect();
    let quoted = |token: &Token| match token {
        Token::DoubleQuotedString(text) => Some(text.clone()),
        _ => None,
    };
    let mut names = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let Some(text) = quoted(&tokens[*place].token) else { continue };
        let neighbour = |step: isize| {
            index
                .checked_add_signed(step)
                .and_then(|index| places.get(index))
                .map(|place| &tokens[*place].token)
        };
        let point = |token: Option<&Token>| matches!(token, Some(Token::Period));
        let reads = matches!(
            neighbour(-1),
            Some(Token::Word(word)) if matches!(word.keyword, Keyword::FROM | Keyword::JOIN)
        );
        if reads || point(neighbour(-1)) || point(neighbour(1)) {
            names.push((*place, text));
        }
    }
    for (place, value) in names {
        tokens[place].token =
            Token::Word(Word { value, quote_style: Some('`'), keyword: Keyword::NoKeyword });
    }
}

/// Names without quotes are capitals there, and small letters here: `"ID"` is `id`.
fn fold_capitals(tokens: &mut [TokenWithSpan]) {
    for token in tokens {
        if let Token::Word(word) = &mut token.token
            && word.quote_style == Some('"')
            && word.value == word.value.to_uppercase()
        {
            word.value = word.value.to_lowercase();
        }
    }
}

/// `2 ** 3` is `2 ^ 3`.
fn powers(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place + 1 < tokens.len() {
        let [first, second] = &tokens[place..place + 2] else { break };
        let power = first.token == Token::Mul
            && second.token == Token::Mul
            && first.span.end == second.span.start;
        if power {
            tokens[place].token = Token::Caret;
            tokens.remove(place + 1);
        }
        place += 1;
    }
}
