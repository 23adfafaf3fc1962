ALTER TABLE "merchant_month" ADD COLUMN "success_kobo" numeric;--> statement-breakpoint
UPDATE "merchant_month" AS stored
   SET "success_kobo" = recomputed."success_kobo"
  FROM (SELECT date_trunc('month', timestamp 'epoch' + "event_us" / 1000000 * interval '1 second' + "event_us" % 1000000 * interval '1 microsecond')::date AS "month",
               "merchant_key",
               sum("amount_kobo") AS "success_kobo"
          FROM "event"
          JOIN "context" USING ("context_key")
         WHERE "status" = 'SUCCESS'
         GROUP BY 1, 2) AS recomputed
 WHERE stored."month" = recomputed."month" AND stored."merchant_key" = recomputed."merchant_key";--> statement-breakpoint
UPDATE "merchant_month" SET "success_kobo" = 0 WHERE "success_kobo" IS NULL;--> statement-breakpoint
ALTER TABLE "merchant_month" ALTER COLUMN "success_kobo" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "snapshot" ADD COLUMN "data_id" uuid DEFAULT gen_random_uuid() NOT NULL;--> statement-breakpoint
ALTER TABLE "snapshot" ADD COLUMN "month_versions" jsonb;--> statement-breakpoint
UPDATE "snapshot"
   SET "month_versions" = coalesce((SELECT jsonb_object_agg(to_char("month", 'YYYY-MM'), "data_version")
                                      FROM (SELECT DISTINCT "month" FROM "merchant_month") AS months), '{}'),
       "answers" = (SELECT regexp_replace("answers"::text, '\}\s*$', ',"kycFunnelNested":') ||
                           json_build_object(
                             'documentsSubmitted', count(*) FILTER (WHERE "documents_submitted" > 0),
                             'verificationsCompleted', count(*) FILTER (WHERE least("documents_submitted", "verifications_completed") > 0),
                             'tierUpgrades', count(*) FILTER (WHERE least("documents_submitted", "verifications_completed", "tier_upgrades") > 0))::text || '}'
                      FROM "merchant_total")::json;--> statement-breakpoint
ALTER TABLE "snapshot" ALTER COLUMN "month_versions" SET NOT NULL;
