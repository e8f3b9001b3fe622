-- purpose: Legs with a data-quality flag, the flags by name.
-- reads: option_chain
-- parameters: none
-- grain: one row per batch_id, date, exchange, symbol, expiry, source, received_time, event_time, strike,
--   option_type
-- units: as in option_chain; flags names, lower case, with a blank between them
-- note: Unordered. A condition on date and exchange reaches the table; one on dq_flags reads that column of
--   every file in the range.
SELECT
    *,
    trim(
        CASE WHEN dq_flags & 1 <> 0 THEN 'iv_bounds ' ELSE '' END
        || CASE WHEN dq_flags & 2 <> 0 THEN 'crossed ' ELSE '' END
        || CASE WHEN dq_flags & 4 <> 0 THEN 'one_sided ' ELSE '' END
        || CASE WHEN dq_flags & 8 <> 0 THEN 'parity ' ELSE '' END
        || CASE WHEN dq_flags & 16 <> 0 THEN 'off_spot ' ELSE '' END
        || CASE WHEN dq_flags & 32 <> 0 THEN 'late ' ELSE '' END
        || CASE WHEN dq_flags & 64 <> 0 THEN 'ahead ' ELSE '' END
        || CASE WHEN dq_flags & 128 <> 0 THEN 'zeroed ' ELSE '' END
        || CASE WHEN dq_flags & 256 <> 0 THEN 'partial ' ELSE '' END
        || CASE WHEN dq_flags & 512 <> 0 THEN 'repeated ' ELSE '' END
        || CASE WHEN dq_flags & 1024 <> 0 THEN 'frozen ' ELSE '' END
        || CASE WHEN dq_flags & 2048 <> 0 THEN 'stale ' ELSE '' END
        || CASE WHEN dq_flags & 4096 <> 0 THEN 'volume_falls ' ELSE '' END
        || CASE WHEN dq_flags & 8192 <> 0 THEN 'wrong_clock ' ELSE '' END
        || CASE WHEN dq_flags & 16384 <> 0 THEN 'pre_open_totals ' ELSE '' END
        || CASE WHEN dq_flags & 32768 <> 0 THEN 'out_of_order ' ELSE '' END
        || CASE WHEN dq_flags & 1073741824 <> 0 THEN 'unchecked ' ELSE '' END
    ) AS flags
FROM option_chain
WHERE dq_flags <> 0
