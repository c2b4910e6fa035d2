//! Values from Rust: conversion, keys, JSON.

use tidemill_jinja::{Dict, Set, Value, from_json_text, to_json_text};

#[test]
fn equal_numbers_are_one_key() {
    let dict = Dict::new();
    for (key, value) in
        [(Value::from(1), "int"), (Value::from(1.0), "float"), (Value::from(true), "bool")]
    {
        dict.insert(key, Value::str(value)).expect("hashable");
    }
    assert_eq!(Value::Dict(dict.clone()).repr(), "{1: 'bool'}");
    assert!(dict.insert(Value::list([]), Value::None).is_err());
    assert!(dict.insert(Value::tuple([Value::list([])]), Value::None).is_err());
    assert!(dict.insert(Value::tuple([Value::from(1)]), Value::None).is_ok());
}

#[test]
fn json_comes_back_as_it_went() {
    let text = r#"{"b": [1, 2.5, null, true, "é\n"], "a": {}, "big": 12345678901234567890}"#;
    let value = from_json_text(text).expect("valid");
    assert_eq!(
        to_json_text(&value, false, None).expect("plain"),
        r#"{"b": [1, 2.5, null, true, "\u00e9\n"], "a": {}, "big": 12345678901234567890}"#
    );
    let json = value.to_json().expect("plain");
    assert_eq!(Value::from(&json), value);
    let circular = Value::list([]);
    circular.as_list().expect("a list").push(circular.clone());
    assert!(circular.to_json().is_err());
    assert!(Value::UNDEFINED.to_json().is_err());
}

#[test]
fn lists_and_dicts_are_shared() {
    let list = Value::list([Value::from(1)]);
    let same = list.clone();
    same.as_list().expect("a list").push(Value::str("x"));
    assert_eq!(list.repr(), "[1, 'x']");
    let dict = Value::dict([("a", Value::from(1))]);
    dict.clone().as_dict().expect("a dict").insert_str("b", Value::None);
    assert_eq!(dict.repr(), "{'a': 1, 'b': None}");
    assert_eq!(dict.as_dict().and_then(|dict| dict.get_str("a")), Some(Value::from(1)));
}

#[test]
fn sets_compare_without_order() {
    let set = |values: &[i64]| {
        Value::object(Set::from_values(values.iter().map(|n| Value::from(*n))).expect("hashable"))
    };
    assert_eq!(set(&[1, 2]), set(&[2, 1, 1]));
    assert_ne!(set(&[1]), set(&[1, 2]));
    assert_eq!(set(&[1, 2]).repr(), "{1, 2}");
    assert_eq!(set(&[]).repr(), "set()");
}

#[test]
fn a_float_is_no_rounded_integer() {
    let large = Value::from(9_007_199_254_740_993_i64);
    assert_ne!(large, Value::from(9_007_199_254_740_992.0));
    assert_eq!(Value::from(9_007_199_254_740_992_i64), Value::from(9_007_199_254_740_992.0));
}
