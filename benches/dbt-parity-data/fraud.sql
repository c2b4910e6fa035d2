-- Made-up rows with the columns that the models name.
copy (select
  1 + (i*7) % 40 as "transaction_id",
  strftime(timestamp '2023-01-01 08:30:15' + to_hours(((i*87) % 9000)::int), '%Y-%m-%d %H:%M:%S') as "timestamp",
  case when i % 5 = 2 then ' sender_accou ' || (i % 7) else 'S-' || (i % 8) end as "sender_account",
  case when i % 5 = 2 then ' receiver_acc ' || (i % 7) else 'R-' || (i % 13) end as "receiver_account",
  round(((i*44) % 1000) / 8.0, 2)::decimal(18,2) as "amount",
  case when i % 13 = 5 then null else round(((i*31) % 1000) / 8.0, 2) end::decimal(18,2) as "time_since_last_transaction",
  case when i % 17 = 3 then null else 1 + (i*11) % 50 end as "spending_deviation_score",
  case when i % 17 = 3 then null else 1 + (i*10) % 50 end as "velocity_score",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "geo_anomaly_score",
  (['transfer','payment','withdrawal','deposit'])[1 + (i*7+0)::int % 4] as "transaction_type",
  (['entertainment','grocery','online','other','restaurant','retail','travel','utilities'])[1 + (i*7+2)::int % 8] as "merchant_category",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location ' || (i % 7) else 'L-' || (i % 10) end as "location",
  case when i % 19 = 6 then null when i % 5 = 2 then ' device_used ' || (i % 7) else 'D-' || (i % 8) end as "device_used",
  case when i % 19 = 6 then null when i % 5 = 2 then ' payment_chan ' || (i % 7) else 'P-' || (i % 14) end as "payment_channel",
  (['0','1'])[1 + (i*7+0)::int % 2] as "is_fraud",
  case when i % 19 = 6 then null when i % 5 = 2 then ' fraud_type ' || (i % 7) else 'F-' || (i % 12) end as "fraud_type",
  case when i % 19 = 6 then null when i % 5 = 2 then ' ip_address ' || (i % 7) else 'I-' || (i % 9) end as "ip_address",
  case when i % 5 = 2 then ' device_hash ' || (i % 7) else 'D-' || (i % 13) end as "device_hash"
from range(1, 61) r(i)
) to '../data_raw/transactions_5m.csv' (format csv, header);
