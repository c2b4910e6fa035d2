-- Made-up rows with the columns that the models name.
create schema if not exists "public";
create or replace table "public"."source_part" as select
  case when i % 5 = 2 then ' p_partkey ' || (i % 7) else 'P-' || (i % 11) end as "p_partkey"
from range(1, 61) r(i);
create schema if not exists "public";
create or replace table "public"."source_partsupp" as select
  case when i % 5 = 2 then ' ps_partkey ' || (i % 7) else 'P-' || (i % 9) end as "ps_partkey",
  case when i % 5 = 2 then ' ps_suppkey ' || (i % 7) else 'P-' || (i % 8) end as "ps_suppkey"
from range(1, 61) r(i);
create schema if not exists "public";
create or replace table "public"."source_supplier" as select
  case when i % 5 = 2 then ' s_suppkey ' || (i % 7) else 'S-' || (i % 13) end as "s_suppkey",
  case when i % 5 = 2 then ' s_nationkey ' || (i % 7) else 'S-' || (i % 8) end as "s_nationkey"
from range(1, 61) r(i);
create schema if not exists "public";
create or replace table "public"."source_orders" as select
  case when i % 5 = 2 then ' o_orderkey ' || (i % 7) else 'O-' || (i % 12) end as "o_orderkey",
  case when i % 5 = 2 then ' o_custkey ' || (i % 7) else 'O-' || (i % 9) end as "o_custkey"
from range(1, 61) r(i);
create schema if not exists "public";
create or replace table "public"."source_customer" as select
  case when i % 5 = 2 then ' c_custkey ' || (i % 7) else 'C-' || (i % 15) end as "c_custkey",
  case when i % 5 = 2 then ' c_name ' || (i % 7) else 'C-' || (i % 16) end as "c_name",
  case when i % 5 = 2 then ' c_nationkey ' || (i % 7) else 'C-' || (i % 10) end as "c_nationkey"
from range(1, 61) r(i);
create schema if not exists "public";
create or replace table "public"."source_lineitem" as select
  case when i % 5 = 2 then ' l_orderkey ' || (i % 7) else 'L-' || (i % 9) end as "l_orderkey",
  1 + (i*3) % 50 as "l_linenumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' l_partkey ' || (i % 7) else 'L-' || (i % 16) end as "l_partkey",
  case when i % 5 = 2 then ' l_suppkey ' || (i % 7) else 'L-' || (i % 15) end as "l_suppkey"
from range(1, 61) r(i);
