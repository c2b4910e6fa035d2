-- Made-up rows with the columns that the models name.
copy (select
  strftime(date '2023-01-01' + ((i*5) % 700)::int, '%Y-%m-%d') as "date",
  1 + (i*6) % 40 as "campaign_id",
  1 + (i*4) % 40 as "country_id",
  round(((i*11) % 1000) / 8.0, 2)::decimal(18,2) as "spend",
  1 + (i*5) % 50 as "impressions",
  1 + (i*9) % 50 as "clicks"
from range(1, 61) r(i)
) to 'seeds/ae_ad_network_1_country_report.csv' (format csv, header);
copy (select
  i as "id",
  (['UK','other'])[1 + (i*7+4)::int % 2] as "country_code",
  case when i % 17 = 3 then null else 1 + (i*13) % 50 end as "name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location_typ ' || (i % 7) else 'L-' || (i % 15) end as "location_type"
from range(1, 61) r(i)
) to 'seeds/ae_ad_network_1_geo_dictionary.csv' (format csv, header);
copy (select
  strftime(date '2023-01-01' + ((i*5) % 700)::int, '%Y-%m-%d') as "date",
  1 + (i*6) % 40 as "campaign_id",
  1 + (i*4) % 40 as "country_id",
  1 + (i*6) % 40 as "state_id",
  round(((i*11) % 1000) / 8.0, 2)::decimal(18,2) as "spend",
  1 + (i*5) % 50 as "impressions",
  1 + (i*9) % 50 as "clicks"
from range(1, 61) r(i)
) to 'seeds/ae_ad_network_1_detailed_report.csv' (format csv, header);
