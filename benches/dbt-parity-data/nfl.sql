-- Made-up rows with the columns that the models name.
create schema if not exists "mortimer_nfl";
create or replace table "mortimer_nfl"."team_lookup" as select
  (['Patriots','other'])[1 + (i*7+3)::int % 2] as "team",
  1 + (i*3) % 40 as "team_id",
  (['GB','SF','other'])[1 + (i*7+3)::int % 3] as "TEAM_SHORT"
from range(1, 61) r(i);
create schema if not exists "mortimer_nfl";
create or replace table "mortimer_nfl"."player" as select
  1 + (i*3) % 40 as "TEAM_ID",
  case when i % 19 = 6 then null when i % 5 = 2 then ' player_name ' || (i % 7) else 'P-' || (i % 12) end as "player_name",
  case when i % 13 = 5 then null else round(((i*71) % 1000) / 8.0, 2) end::decimal(18,2) as "passing_yards",
  case when i % 19 = 6 then null when i % 5 = 2 then ' passing_td ' || (i % 7) else 'P-' || (i % 14) end as "passing_td",
  (['QB','other'])[1 + (i*7+1)::int % 2] as "field_position"
from range(1, 61) r(i);
create schema if not exists "mortimer_nfl";
create or replace table "mortimer_nfl"."game" as select
  1 + (i*3) % 40 as "game_type_id",
  1 + (i*5) % 40 as "home_team_id",
  1 + (i*7) % 40 as "away_team_id",
  i as "game_id"
from range(1, 61) r(i);
create schema if not exists "mortimer_nfl";
create or replace table "mortimer_nfl"."game_type" as select
  1 + (i*3) % 40 as "game_type_id",
  (['PST','other'])[1 + (i*7+0)::int % 2] as "game_type"
from range(1, 61) r(i);
