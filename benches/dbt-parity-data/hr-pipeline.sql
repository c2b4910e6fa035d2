copy (select *, timestamp '2025-01-01' as loaded_at from '../data/employees.csv') to '../lake/bronze/employees/2025/part.parquet' (format parquet);
copy (select * from '../data/leaves.csv') to '../lake/bronze/leaves/2025/part.parquet' (format parquet);
copy (select * from '../data/payroll.csv') to '../lake/bronze/payroll/2025/part.parquet' (format parquet);
