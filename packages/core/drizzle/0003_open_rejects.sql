ALTER TABLE "reject" ADD COLUMN "event_ids" uuid[];--> statement-breakpoint
UPDATE "reject"
   SET "event_ids" = CASE WHEN "reason" = 'event_id' THEN '{}' -- what else in it looks like one is not its id
                          ELSE ARRAY(SELECT DISTINCT found[1]::uuid
                                       FROM regexp_matches(coalesce("raw_text", regexp_replace(encode("raw_bytes", 'escape'), '\\(\\|[0-7]{3})', ' ', 'g')),
                                                           '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'gi') AS found) END;--> statement-breakpoint
ALTER TABLE "reject" ALTER COLUMN "event_ids" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "reject" ADD COLUMN "said" jsonb;--> statement-breakpoint
CREATE VIEW "public"."open_reject" AS (
  WITH wanted AS (
    SELECT file_id,
           line,
           (SELECT merchant_key FROM merchant WHERE merchant_id = said->>'merchant_id') AS merchant_key,
           (said->>'event_us')::bigint AS event_us,
           (said->>'amount_kobo')::bigint AS amount_kobo,
           (SELECT kind_key FROM kind WHERE product = said->>'product' AND event_type = said->>'event_type') AS kind_key,
           (SELECT context_key
              FROM context
             WHERE status = said->>'status' AND channel = said->>'channel' AND region = said->>'region'
               AND merchant_tier = said->>'merchant_tier') AS context_key
      FROM reject
     WHERE said IS NOT NULL
  ), alike AS (
    SELECT file_id, line, merchant_key, event_us, amount_kobo, kind_key, context_key FROM wanted
     UNION ALL
    SELECT file_id, NULL, merchant_key, event_us, amount_kobo, kind_key, context_key FROM event WHERE (merchant_key, event_us, amount_kobo, kind_key, context_key) IN (SELECT merchant_key, event_us, amount_kobo, kind_key, context_key FROM wanted)
  ), placed AS (
    SELECT *,
           row_number() OVER (PARTITION BY merchant_key, event_us, amount_kobo, kind_key, context_key ORDER BY line IS NULL, file_id, line) AS nth,
           min(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS first_file,
           max(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS last_file
      FROM alike
    WINDOW same AS (PARTITION BY merchant_key, event_us, amount_kobo, kind_key, context_key)
  ), counted AS (
    SELECT *, count(*) FILTER (WHERE line IS NULL AND (file_id <> first_file OR file_id <> last_file)) OVER same AS repairs
      FROM placed
    WINDOW same AS (PARTITION BY merchant_key, event_us, amount_kobo, kind_key, context_key)
  )
  SELECT file_id, line, reason
    FROM reject
   WHERE said IS NULL AND NOT EXISTS (SELECT FROM event WHERE event_id = ANY (event_ids))
   UNION ALL
  SELECT file_id, line, 'event_id'
    FROM counted
   WHERE line IS NOT NULL AND nth > repairs);--> statement-breakpoint
CREATE VIEW "public"."stored_reject" AS (SELECT file_id, reason, count(*) AS stored FROM reject GROUP BY file_id, reason);