-- Made-up rows with the columns that the models name.
copy (select
  1 + (i*1) % 40 as "order_id",
  1 + (i*2) % 40 as "order_item_id",
  1 + (i*6) % 40 as "product_id",
  1 + (i*3) % 40 as "seller_id",
  date '2023-01-01' + ((i*17) % 700)::int as "shipping_limit_date",
  round(((i*93) % 1000) / 8.0, 2)::decimal(18,2) as "price",
  case when i % 13 = 5 then null else round(((i*53) % 1000) / 8.0, 2) end::decimal(18,2) as "freight_value"
from range(1, 61) r(i)
) to '../data/brooklyndata/olist_order_items.csv' (format csv, header);
copy (select
  1 + (i*1) % 40 as "order_id",
  case when i % 19 = 6 then null when i % 5 = 2 then ' payment_sequ ' || (i % 7) else 'P-' || (i % 8) end as "payment_sequential",
  (['boleto','credit_card','debit_card','voucher','not_defined'])[1 + (i*7+1)::int % 5] as "payment_type",
  case when i % 19 = 6 then null when i % 5 = 2 then ' payment_inst ' || (i % 7) else 'P-' || (i % 10) end as "payment_installments",
  case when i % 13 = 5 then null else round(((i*74) % 1000) / 8.0, 2) end::decimal(18,2) as "payment_value"
from range(1, 61) r(i)
) to '../data/brooklyndata/olist_order_payments.csv' (format csv, header);
copy (select
  (['674eb13687ba86abeaee12ece9ce0309','other'])[1 + (i*7+0)::int % 2] as "order_id",
  1 + (i*7) % 40 as "customer_id",
  (['delivered','shipped','canceled','unavailable','invoiced','processing','created','approved'])[1 + (i*7+1)::int % 8] as "order_status",
  timestamp '2023-01-01 08:30:15' + to_hours(((i*38) % 9000)::int) as "order_purchase_timestamp",
  timestamp '2023-01-01 08:30:15' + to_hours(((i*96) % 9000)::int) as "order_approved_at",
  date '2023-01-01' + ((i*15) % 700)::int as "order_delivered_carrier_date",
  date '2023-01-01' + ((i*15) % 700)::int as "order_delivered_customer_date",
  date '2023-01-01' + ((i*13) % 700)::int as "order_estimated_delivery_date"
from range(1, 61) r(i)
) to '../data/brooklyndata/olist_orders.csv' (format csv, header);
copy (select
  i as "customer_id",
  1 + (i*2) % 40 as "customer_unique_id",
  case when i % 19 = 6 then null when i % 5 = 2 then ' customer_zip ' || (i % 7) else 'C-' || (i % 14) end as "customer_zip_code_prefix",
  case when i % 19 = 6 then null when i % 5 = 2 then ' customer_cit ' || (i % 7) else 'C-' || (i % 13) end as "customer_city",
  case when i % 19 = 6 then null when i % 5 = 2 then ' customer_sta ' || (i % 7) else 'C-' || (i % 9) end as "customer_state"
from range(1, 61) r(i)
) to '../data/brooklyndata/olist_order_customer.csv' (format csv, header);
copy (select
  i as "review_id",
  1 + (i*1) % 40 as "order_id",
  (['1.0','2.0','3.0','4.0','5.0'])[1 + (i*7+3)::int % 5] as "review_score",
  case when i % 19 = 6 then null when i % 5 = 2 then ' review_comme ' || (i % 7) else 'R-' || (i % 15) end as "review_comment_title",
  case when i % 19 = 6 then null when i % 5 = 2 then ' review_comme ' || (i % 7) else 'R-' || (i % 12) end as "review_comment_message",
  date '2023-01-01' + ((i*27) % 700)::int as "review_creation_date",
  timestamp '2023-01-01 08:30:15' + to_hours(((i*44) % 9000)::int) as "review_answer_timestamp"
from range(1, 61) r(i)
) to '../data/brooklyndata/olist_order_reviews.csv' (format csv, header);
