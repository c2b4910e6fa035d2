create schema if not exists raw;
create or replace table raw.keywords as select
  i + 1 as id,
  'keywords ' || (hash(i * 31 + 7621) % 12) as keywords
from range(60) t(i);
create schema if not exists raw;
create or replace table raw.links as select
  1 + (hash(i * 31 + 3064) % 60)::int as movieid,
  1 + (hash(i * 31 + 4954) % 60)::int as imdbid,
  1 + (hash(i * 31 + 9464) % 60)::int as tmdbid
from range(60) t(i);
