select {{ dbt.array_construct(['1', '2'], 'integer') }} as made,
  {{ dbt.array_append(dbt.array_construct(['1', '2'], 'integer'), '3') }} as appended,
  {{ dbt.array_concat(dbt.array_construct(["'a'"], 'text'), dbt.array_construct(["'b'", "'c'"], 'text')) }} as joined
