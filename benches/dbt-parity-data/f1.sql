-- Made-up rows with the columns that the models name.
create schema if not exists "ergast";
create or replace table "ergast"."circuits" as select
  i as "circuitid",
  case when i % 19 = 6 then null when i % 5 = 2 then ' circuitref ' || (i % 7) else 'C-' || (i % 9) end as "circuitref",
  case when i % 19 = 6 then null when i % 5 = 2 then ' name ' || (i % 7) else 'N-' || (i % 11) end as "name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location ' || (i % 7) else 'L-' || (i % 10) end as "location",
  case when i % 19 = 6 then null when i % 5 = 2 then ' country ' || (i % 7) else 'C-' || (i % 13) end as "country",
  case when i % 13 = 5 then null else round(((i*61) % 1000) / 8.0, 2) end::decimal(18,2) as "lat",
  case when i % 13 = 5 then null else round(((i*61) % 1000) / 8.0, 2) end::decimal(18,2) as "lng",
  case when i % 19 = 6 then null when i % 5 = 2 then ' url ' || (i % 7) else 'U-' || (i % 14) end as "url"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."constructor_results" as select
  1 + (i*2) % 40 as "constructorresultsid",
  1 + (i*1) % 40 as "raceid",
  1 + (i*7) % 40 as "constructorid",
  case when i % 17 = 3 then null else 1 + (i*12) % 50 end as "points",
  case when i % 19 = 6 then null when i % 5 = 2 then ' status ' || (i % 7) else 'S-' || (i % 9) end as "status"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."constructor_standings" as select
  1 + (i*5) % 40 as "constructorstandingsid",
  1 + (i*1) % 40 as "raceid",
  1 + (i*7) % 40 as "constructorid",
  case when i % 13 = 5 then null else round(((i*53) % 1000) / 8.0, 2) end::decimal(18,2) as "points",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "position",
  case when i % 19 = 6 then null when i % 5 = 2 then ' positiontext ' || (i % 7) else 'P-' || (i % 14) end as "positiontext",
  case when i % 17 = 3 then null else 1 + (i*12) % 50 end as "wins"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."constructors" as select
  i as "constructorid",
  case when i % 19 = 6 then null when i % 5 = 2 then ' constructorr ' || (i % 7) else 'C-' || (i % 8) end as "constructorref",
  case when i % 19 = 6 then null when i % 5 = 2 then ' name ' || (i % 7) else 'N-' || (i % 11) end as "name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' nationality ' || (i % 7) else 'N-' || (i % 16) end as "nationality",
  case when i % 19 = 6 then null when i % 5 = 2 then ' url ' || (i % 7) else 'U-' || (i % 14) end as "url"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."drivers" as select
  i as "driverid",
  case when i % 19 = 6 then null when i % 5 = 2 then ' driverref ' || (i % 7) else 'D-' || (i % 14) end as "driverref",
  case when i % 17 = 3 then null else 1 + (i*3) % 50 end as "number",
  case when i % 19 = 6 then null when i % 5 = 2 then ' code ' || (i % 7) else 'C-' || (i % 14) end as "code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' forename ' || (i % 7) else 'F-' || (i % 16) end as "forename",
  case when i % 19 = 6 then null when i % 5 = 2 then ' surname ' || (i % 7) else 'S-' || (i % 15) end as "surname",
  strftime(date '2023-01-01' + ((i*15) % 700)::int, '%Y-%m-%d') as "dob",
  case when i % 19 = 6 then null when i % 5 = 2 then ' nationality ' || (i % 7) else 'N-' || (i % 16) end as "nationality",
  case when i % 19 = 6 then null when i % 5 = 2 then ' url ' || (i % 7) else 'U-' || (i % 14) end as "url"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."driver_standings" as select
  1 + (i*2) % 40 as "driverstandingsid",
  1 + (i*1) % 40 as "raceid",
  1 + (i*4) % 40 as "driverid",
  case when i % 13 = 5 then null else round(((i*53) % 1000) / 8.0, 2) end::decimal(18,2) as "points",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "position",
  case when i % 19 = 6 then null when i % 5 = 2 then ' positiontext ' || (i % 7) else 'P-' || (i % 14) end as "positiontext",
  case when i % 17 = 3 then null else 1 + (i*12) % 50 end as "wins"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."lap_times" as select
  1 + (i*1) % 40 as "raceid",
  1 + (i*4) % 40 as "driverid",
  case when i % 17 = 3 then null else 1 + (i*12) % 50 end as "lap",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "position",
  case when i % 19 = 6 then null when i % 5 = 2 then ' time ' || (i % 7) else 'T-' || (i % 16) end as "time",
  case when i % 17 = 3 then null else 1 + (i*13) % 50 end as "milliseconds"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."pit_stops" as select
  1 + (i*1) % 40 as "raceid",
  1 + (i*4) % 40 as "driverid",
  case when i % 17 = 3 then null else 1 + (i*6) % 50 end as "stop",
  case when i % 17 = 3 then null else 1 + (i*12) % 50 end as "lap",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "time",
  case when i % 19 = 6 then null when i % 5 = 2 then ' duration ' || (i % 7) else 'D-' || (i % 14) end as "duration",
  case when i % 17 = 3 then null else 1 + (i*13) % 50 end as "milliseconds"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."qualifying" as select
  1 + (i*3) % 40 as "qualifyid",
  1 + (i*1) % 40 as "raceid",
  1 + (i*4) % 40 as "driverid",
  1 + (i*7) % 40 as "constructorid",
  case when i % 17 = 3 then null else 1 + (i*3) % 50 end as "number",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "position",
  case when i % 19 = 6 then null when i % 5 = 2 then ' q1 ' || (i % 7) else 'Q-' || (i % 8) end as "q1",
  case when i % 19 = 6 then null when i % 5 = 2 then ' q2 ' || (i % 7) else 'Q-' || (i % 9) end as "q2",
  case when i % 19 = 6 then null when i % 5 = 2 then ' q3 ' || (i % 7) else 'Q-' || (i % 10) end as "q3"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."races" as select
  i as "raceid",
  2019 + i % 5 as "year",
  case when i % 17 = 3 then null else 1 + (i*5) % 50 end as "round",
  1 + (i*2) % 40 as "circuitid",
  case when i % 19 = 6 then null when i % 5 = 2 then ' name ' || (i % 7) else 'N-' || (i % 11) end as "name",
  strftime(date '2023-01-01' + ((i*5) % 700)::int, '%Y-%m-%d') as "date",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "time",
  case when i % 19 = 6 then null when i % 5 = 2 then ' url ' || (i % 7) else 'U-' || (i % 14) end as "url",
  strftime(date '2023-01-01' + ((i*18) % 700)::int, '%Y-%m-%d') as "fp1_date",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "fp1_time",
  strftime(date '2023-01-01' + ((i*19) % 700)::int, '%Y-%m-%d') as "fp2_date",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "fp2_time",
  strftime(date '2023-01-01' + ((i*20) % 700)::int, '%Y-%m-%d') as "fp3_date",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "fp3_time",
  strftime(date '2023-01-01' + ((i*19) % 700)::int, '%Y-%m-%d') as "quali_date",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "quali_time",
  strftime(date '2023-01-01' + ((i*13) % 700)::int, '%Y-%m-%d') as "sprint_date",
  lpad((i % 24)::varchar,2,'0') || ':30:00' as "sprint_time"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."results" as select
  i as "resultid",
  1 + (i*1) % 40 as "raceid",
  1 + (i*4) % 40 as "driverid",
  1 + (i*7) % 40 as "constructorid",
  case when i % 17 = 3 then null else 1 + (i*3) % 50 end as "number",
  1 + (i*3) % 40 as "grid",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "position",
  case when i % 19 = 6 then null when i % 5 = 2 then ' positiontext ' || (i % 7) else 'P-' || (i % 14) end as "positiontext",
  case when i % 17 = 3 then null else 1 + (i*9) % 50 end as "positionorder",
  case when i % 13 = 5 then null else round(((i*53) % 1000) / 8.0, 2) end::decimal(18,2) as "points",
  case when i % 17 = 3 then null else 1 + (i*6) % 50 end as "laps",
  case when i % 19 = 6 then null when i % 5 = 2 then ' time ' || (i % 7) else 'T-' || (i % 16) end as "time",
  case when i % 17 = 3 then null else 1 + (i*13) % 50 end as "milliseconds",
  case when i % 19 = 6 then null when i % 5 = 2 then ' fastestlap ' || (i % 7) else 'F-' || (i % 16) end as "fastestlap",
  case when i % 17 = 3 then null else 1 + (i*13) % 50 end as "rank",
  case when i % 19 = 6 then null when i % 5 = 2 then ' fastestlapti ' || (i % 7) else 'F-' || (i % 15) end as "fastestlaptime",
  case when i % 13 = 5 then null else round(((i*13) % 1000) / 8.0, 2) end::decimal(18,2) as "fastestlapspeed",
  1 + (i*7) % 40 as "statusid"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."seasons" as select
  2019 + i % 5 as "year",
  case when i % 19 = 6 then null when i % 5 = 2 then ' url ' || (i % 7) else 'U-' || (i % 14) end as "url"
from range(1, 61) r(i);
create schema if not exists "ergast";
create or replace table "ergast"."status" as select
  1 + (i*7) % 40 as "statusid",
  case when i % 19 = 6 then null when i % 5 = 2 then ' status ' || (i % 7) else 'S-' || (i % 9) end as "status"
from range(1, 61) r(i);
