//! A large project loads quickly. The bound is generous: it is for a debug build on a busy machine,
//! and catches work that grows with the square of the project.

use std::time::Instant;

use crate::harness::Folder;

#[test]
fn a_large_project_loads_in_a_moment() {
    let mut files: Vec<(String, String)> = vec![(
        "macros/m.sql".into(),
        "{% macro cents(x) %}round({{ x }} / 100, 2){% endmacro %}".into(),
    )];
    let mut yaml = String::from("models:\n");
    for index in 0..1_200 {
        let parent = if index < 40 {
            "select 1 as x".to_owned()
        } else if index % 3 == 0 {
            format!("select {{{{ cents('x') }}}} as x from {{{{ ref('m{}') }}}}", index - 40)
        } else {
            format!("select x from {{{{ ref('m{}') }}}}", index - 40)
        };
        files.push((
            format!("models/layer{}/m{index}.sql", index / 40),
            format!("{{{{ config(materialized='table') }}}}\n{parent}\n"),
        ));
        yaml.push_str(&format!(
            "  - name: m{index}\n    columns:\n      - name: x\n        data_tests: [not_null, unique]\n"
        ));
    }
    files.push(("models/all.yml".into(), yaml));
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let folder = Folder::new(&files);
    let start = Instant::now();
    let project = folder.project();
    let taken = start.elapsed();
    assert_eq!(project.manifest().nodes.len(), 1_200 + 2_400);
    assert!(taken.as_secs_f64() < 20.0, "{taken:?}");
}
