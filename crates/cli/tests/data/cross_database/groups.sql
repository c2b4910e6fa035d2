select grp,
  {{ dbt.any_value('grp') }} as anyone, {{ dbt.bool_or('flag') }} as any_flag, {{ dbt.bool_or('id = 4') }} as any_four,
  {{ dbt.listagg('t', "', '", 'order by id') }} as l_all,
  {{ dbt.listagg(measure='t', delimiter_text="'|'", order_by_clause='order by id desc', limit_num=1) }} as l_one,
  {{ dbt.listagg('t', order_by_clause='order by t') }} as l_default
from {{ ref('texts') }} group by grp
