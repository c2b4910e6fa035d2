//! The grammar that SQL is read by: sqlparser's generic dialect with PostgreSQL's order of operators.
//!
//! The generic dialect takes `x ->> 'a' = 'b'` for `x ->> ('a' = 'b')` and `'a' || 1 + 2` for
//! `('a' || 1) + 2`. In PostgreSQL an operator that has no place of its own binds looser than `+` and
//! tighter than `like` and comparisons.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::syntax::{binary, nested};

/// The place of operators that have none of their own: below `+`, above everything that compares.
pub(crate) const OTHER: u8 = 25;

/// The place of `^`, a power: above `*`.
const POWER: u8 = 45;

/// The place of an operator that the parser puts elsewhere.
pub(crate) fn place_of(token: &Token) -> Option<u8> {
    match token {
        Token::StringConcat
        | Token::Arrow
        | Token::LongArrow
        | Token::HashArrow
        | Token::HashLongArrow
        | Token::HashMinus
        | Token::AtArrow
        | Token::ArrowAt
        | Token::AtQuestion
        | Token::AtAt
        | Token::Question
        | Token::QuestionAnd
        | Token::QuestionPipe
        | Token::Overlap
        | Token::Ampersand
        | Token::Pipe
        | Token::ShiftLeft
        | Token::ShiftRight
        | Token::Sharp => Some(OTHER),
        Token::Caret => Some(POWER),
        _ => None,
    }
}

/// The generic dialect with PostgreSQL's order of operators.
#[derive(Debug)]
pub(crate) struct Grammar(GenericDialect);

impl Grammar {
    pub(crate) const fn new() -> Self {
        Grammar(GenericDialect)
    }
}

impl Grammar {
    /// Between the two in either order.
    fn symmetric(
        &self,
        parser: &mut Parser,
        value: &Expr,
        negated: bool,
    ) -> Result<Expr, ParserError> {
        let place = self.prec_value(Precedence::Between);
        let one = parser.parse_subexpr(place)?;
        parser.expect_keyword_is(Keyword::AND)?;
        let other = parser.parse_subexpr(place)?;
        let between = |low: &Expr, high: &Expr| Expr::Between {
            expr: Box::new(value.clone()),
            negated: false,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        };
        let either =
            nested(binary(between(&one, &other), BinaryOperator::Or, between(&other, &one)));
        Ok(match negated {
            true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(either) }),
            false => either,
        })
    }
}

/// Says what the generic dialect says.
macro_rules! generic {
    ($($name:ident,)*) => {
        $(fn $name(&self) -> bool { self.0.$name() })*
    };
}

/// All that is not ASCII may stand in a name, as in PostgreSQL and DuckDB.
pub(crate) fn is_foreign_letter(letter: char) -> bool {
    !letter.is_ascii() && !letter.is_whitespace()
}

impl Dialect for Grammar {
    // The parser asks for it by its type, too.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        place_of(&parser.peek_token_ref().token).map(Ok)
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        self.0.is_delimited_identifier_start(letter)
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        self.0.is_identifier_start(letter) || is_foreign_letter(letter)
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        self.0.is_identifier_part(letter) || is_foreign_letter(letter)
    }

    /// `x between symmetric a and b`, and `a # b`.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        value: &Expr,
        _: u8,
    ) -> Option<Result<Expr, ParserError>> {
        // An exclusive or.
        if parser.peek_token_ref().token == Token::Sharp {
            parser.advance_token();
            return Some(parser.parse_subexpr(OTHER).map(|right| Expr::BinaryOp {
                left: Box::new(value.clone()),
                op: BinaryOperator::PGBitwiseXor,
                right: Box::new(right),
            }));
        }
        let says = |place: usize, word: &str| {
            matches!(&parser.peek_nth_token_ref(place).token, Token::Word(found)
                if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
        };
        let negated = says(0, "not");
        let first = usize::from(negated);
        if !says(first, "between") || !says(first + 1, "symmetric") {
            return None;
        }
        (0..first + 2).for_each(|_| parser.advance_token());
        Some(self.symmetric(parser, value, negated))
    }

    generic! {
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    }
}
