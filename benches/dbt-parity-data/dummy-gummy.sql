-- Made-up rows with the columns that the models name.
create schema if not exists "netflix";
create or replace table "netflix"."shows" as select
  'k' || i as "show_id",
  (['Movie','TV Show','other'])[1 + (i*7+0)::int % 3] as "type",
  case when i % 19 = 6 then null when i % 5 = 2 then ' title ' || (i % 7) else 'T-' || (i % 14) end as "title",
  case when i % 19 = 6 then null when i % 5 = 2 then ' director ' || (i % 7) else 'D-' || (i % 13) end as "director",
  case when i % 19 = 6 then null when i % 5 = 2 then ' cast ' || (i % 7) else 'C-' || (i % 12) end as "cast",
  case when i % 19 = 6 then null when i % 5 = 2 then ' country ' || (i % 7) else 'C-' || (i % 13) end as "country",
  case when i % 19 = 6 then null when i % 5 = 2 then ' date_added ' || (i % 7) else 'D-' || (i % 16) end as "date_added",
  2019 + i % 5 as "release_year",
  case when i % 19 = 6 then null when i % 5 = 2 then ' rating ' || (i % 7) else 'R-' || (i % 14) end as "rating",
  case when i % 19 = 6 then null when i % 5 = 2 then ' duration ' || (i % 7) else 'D-' || (i % 14) end as "duration",
  case when i % 19 = 6 then null when i % 5 = 2 then ' listed_in ' || (i % 7) else 'L-' || (i % 9) end as "listed_in",
  case when i % 19 = 6 then null when i % 5 = 2 then ' description ' || (i % 7) else 'D-' || (i % 8) end as "description"
from range(1, 61) r(i);
