import { describeError, errorCode } from '../errors.ts';
import { readFolder, type SourceFile } from './discover.ts';
import { findVersions, isOutOfPlace, type LoadedFile } from './ledger.ts';
import { hashFile } from './read.ts';

/** How the activity files of a folder stand to what is loaded: what the next import of it would do. In name order. */
export type FolderState = {
  /** All activity files there. */
  readonly files: readonly SourceFile[];
  readonly notLoaded: readonly SourceFile[];
  /** Loaded, and with other content by now. */
  readonly changed: readonly SourceFile[];
  /** Of the size that is loaded, but of another time or under another path, and too large to be read for an answer. */
  readonly maybeChanged: readonly SourceFile[];
};

/** What is read at most to tell whether files changed: a fraction of a second. */
const MAX_HASHED_BYTES = 64 * 1024 * 1024;

/**
 * Compares a folder with the ledger as an import does, but without reading more than a little, and without writing anything.
 *
 * @param folder its path
 * @param loadedFiles what readLoadedFiles gives; empty where nothing was imported yet
 * @param maxHashedBytes what may be read
 * @returns what is wrong with the folder as text, such as `does not exist`
 */
export async function compareFolder(
  folder: string,
  loadedFiles: ReadonlyMap<string, LoadedFile>,
  maxHashedBytes = MAX_HASHED_BYTES,
): Promise<FolderState | string> {
  const found = await readFolder(folder).catch((error: unknown) => explain(error));
  if (typeof found === 'string') return found;
  const byPath = new Map(found.files.map((file) => [file.path, file]));
  const files = [...byPath.values()].sort((a, b) => (a.name < b.name ? -1 : 1)); // names of activity files are ASCII
  const notLoaded: SourceFile[] = [];
  const changed: SourceFile[] = [];
  const maybeChanged: SourceFile[] = [];
  let leftBytes = maxHashedBytes;
  for (const file of files) {
    const versions = await findVersions(file, loadedFiles);
    if (versions === 'unchanged') continue;
    if (versions.length === 0) notLoaded.push(file);
    else if (versions.every(({ sizeBytes }) => sizeBytes !== file.sizeBytes)) changed.push(file);
    else if (file.sizeBytes > leftBytes) maybeChanged.push(file);
    else {
      leftBytes -= file.sizeBytes;
      const same = await findSame(file, versions);
      if (same !== undefined && !isOutOfPlace(same, file, loadedFiles)) continue;
      (loadedFiles.has(file.path) ? changed : notLoaded).push(file);
    }
  }
  return { files, notLoaded, changed, maybeChanged };
}

async function findSame(file: SourceFile, versions: readonly LoadedFile[]): Promise<LoadedFile | undefined> {
  try {
    const { sha256 } = await hashFile(file);
    return versions.find((version) => version.sha256?.equals(sha256));
  } catch {
    return undefined; // unreadable, or being written: the import will say why
  }
}

function explain(error: unknown): string {
  const code = errorCode(error);
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'ENOTDIR') return 'is not a folder';
  if (code === 'EACCES' || code === 'EPERM') return 'must not be read by this user';
  return `cannot be read: ${describeError(error)}`;
}
