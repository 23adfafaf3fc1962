import { withSeparators } from '@moniepoint/core/metrics';
import { scaleBand, scaleLinear } from 'd3-scale';

/**
 * A bar beside its number in a table, which says the same to whoever cannot see it.
 *
 * @param share of the longest bar, from 0 to 1
 */
export function Bar({ share, tone = '' }: { readonly share: number; readonly tone?: string }) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return (
    <svg class={`bar ${tone}`} viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <rect class="bar-room" width="100" height="10" />
      <rect class="bar-value" width={width.toFixed(2)} height="10" />
    </svg>
  );
}

const WIDTH = 640;
const HEIGHT = 200;
const LEFT = 64;
const RIGHT = 28; // half of the last month's name, in the larger type of a phone
const BOTTOM = 22;
const TOP = 16;

/**
 * Columns over months. The table beside it has the numbers, so to a screen reader this is one picture with a title.
 *
 * @param label what the picture shows, with its range
 */
export function Columns({
  label,
  values,
}: {
  readonly label: string;
  readonly values: readonly { readonly name: string; readonly value: number }[];
}) {
  const x = scaleBand(
    values.map(({ name }) => name),
    [LEFT, WIDTH - RIGHT],
  ).padding(0.25);
  const y = scaleLinear([0, Math.max(1, ...values.map(({ value }) => value))], [HEIGHT - BOTTOM, TOP]).nice(4);
  const ticks = y.ticks(4).filter(Number.isInteger);
  // As many names as fit; the last one is always there.
  const step = Math.ceil(values.length / 6);
  return (
    <svg class="columns" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      {ticks.map((tick) => (
        <>
          <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(tick)} y2={y(tick)} />
          <text class="tick" x={LEFT - 8} y={y(tick) + 4} text-anchor="end">
            {withSeparators(tick)}
          </text>
        </>
      ))}
      {values.map(({ name, value }, index) => (
        <>
          <rect
            class="column"
            x={(x(name) as number).toFixed(1)}
            y={y(value).toFixed(1)}
            width={Math.min(x.bandwidth(), 56).toFixed(1)}
            height={(HEIGHT - BOTTOM - y(value)).toFixed(1)}
            transform={`translate(${((x.bandwidth() - Math.min(x.bandwidth(), 56)) / 2).toFixed(1)} 0)`}
          >
            <title>{`${name}: ${withSeparators(value)}`}</title>
          </rect>
          {(values.length - 1 - index) % step === 0 && (
            <text
              class="tick"
              x={((x(name) as number) + x.bandwidth() / 2).toFixed(1)}
              y={HEIGHT - 6}
              text-anchor="middle"
            >
              {name}
            </text>
          )}
        </>
      ))}
    </svg>
  );
}
