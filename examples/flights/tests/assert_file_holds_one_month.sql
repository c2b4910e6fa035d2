-- A monthly file that reaches into another month was cut wrongly.
select _source_file, count(distinct month) as months
from {{ source('nyc', 'flights') }}
group by 1
having count(distinct month) <> 1
