import { expect, it } from 'vitest';
import { row } from '../../../test/files.ts';
import { withoutContent } from './errors.ts';
import { parseHeader } from './import/parse.ts';

it('why a file failed is told to the public without its folder and without what stands in it', () => {
  const path = '/srv/private/activities_20240101.csv';
  const record = Buffer.from(row({ merchant_id: '"MRC ""1"""', region: '\\' }));
  let told = '';
  try {
    parseHeader(path, 'quoted', record);
  } catch (error) {
    told = (error as Error).message;
  }
  expect(told).toContain('MRC');
  expect(withoutContent(told, path)).toMatch(
    /^activities_20240101\.csv:1: column event_id is missing\. Nothing of the file was loaded; /,
  );
  expect(withoutContent(`${path}: 3 of 4 rows rejected`, path)).toBe('activities_20240101.csv: 3 of 4 rows rejected');
});
