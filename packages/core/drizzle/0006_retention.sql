CREATE TABLE "expired_merchant_month" (
	"merchant_key" integer NOT NULL,
	"month" date NOT NULL,
	"success_count" bigint NOT NULL,
	"success_kobo" numeric NOT NULL,
	CONSTRAINT "expired_merchant_month_pkey" PRIMARY KEY("month","merchant_key")
);
--> statement-breakpoint
CREATE TABLE "expired_merchant_total" (
	"merchant_key" integer NOT NULL,
	"success_kobo" numeric NOT NULL,
	"success_count" bigint NOT NULL,
	"pos" bigint NOT NULL,
	"airtime" bigint NOT NULL,
	"bills" bigint NOT NULL,
	"card_payment" bigint NOT NULL,
	"savings" bigint NOT NULL,
	"moniebook" bigint NOT NULL,
	"kyc" bigint NOT NULL,
	"documents_submitted" bigint NOT NULL,
	"verifications_completed" bigint NOT NULL,
	"tier_upgrades" bigint NOT NULL,
	CONSTRAINT "expired_merchant_total_pkey" PRIMARY KEY("merchant_key")
);
--> statement-breakpoint
CREATE TABLE "expired_product_status" (
	"product" text NOT NULL,
	"status" text NOT NULL,
	"event_count" bigint NOT NULL,
	CONSTRAINT "expired_product_status_pkey" PRIMARY KEY("product","status")
);
--> statement-breakpoint
CREATE TABLE "retention" (
	"is_only_row" boolean DEFAULT true NOT NULL,
	"kept_from" date NOT NULL,
	CONSTRAINT "retention_pkey" PRIMARY KEY("is_only_row"),
	CONSTRAINT "retention_only_row_check" CHECK ("retention"."is_only_row")
);
--> statement-breakpoint
ALTER TABLE "ledger" ADD COLUMN "expired" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "reject" ADD COLUMN "is_closed" boolean DEFAULT false NOT NULL;--> statement-breakpoint
CREATE OR REPLACE VIEW "public"."open_reject" AS (
  WITH named AS (
    SELECT file_id, line, reason, unnest(event_ids) AS event_id FROM reject WHERE said IS NULL AND NOT is_closed
  ), wanted AS (
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
     WHERE said IS NOT NULL AND NOT is_closed
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
  (SELECT file_id, line, reason FROM reject WHERE said IS NULL AND NOT is_closed
   EXCEPT
   SELECT file_id, line, reason FROM named JOIN (SELECT event_id FROM event WHERE event_id IN (SELECT event_id FROM named)) AS stored USING (event_id))
   UNION ALL
  SELECT file_id, line, 'event_id'
    FROM counted
   WHERE line IS NOT NULL AND nth > repairs);