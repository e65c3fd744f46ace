/* Gets files out of a drop, folders included. */

function entryFile(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function entryChildren(entry: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = entry.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

async function collect(entry: FileSystemEntry, into: File[]): Promise<void> {
  if (entry.name.startsWith(".")) return;
  if (entry.isFile) into.push(await entryFile(entry as FileSystemFileEntry));
  else if (entry.isDirectory) for (const child of await entryChildren(entry as FileSystemDirectoryEntry)) await collect(child, into);
}

export async function droppedFiles(data: DataTransfer): Promise<File[]> {
  /* Both lists must be read before the first wait: the browser empties them when the event is over. */
  const plain = Array.from(data.files);
  const entries = Array.from(data.items).map((item) => (item.kind === "file" ? item.webkitGetAsEntry?.() ?? null : null));
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const files: File[] = [];
  for (const entry of entries) if (entry) await collect(entry, files);
  return files;
}

export function hasFiles(data: DataTransfer | null): boolean {
  return !!data && Array.from(data.types).includes("Files");
}
