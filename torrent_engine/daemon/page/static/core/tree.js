/** The files of a torrent as a tree of folders, and the lines of it that are shown. */

/** @typedef {{name: string, path: string, depth: number, file: any, children: Map<string, Node> | null, size: number, done: number, files: number[]}} Node */

/** Return the root of the files; each has `path`, `index`, `size_bytes`, `completed_bytes`. */
export function treeOf(files) {
  const root = node('', '', -1, null);
  for (const file of files) {
    const parts = file.path.split('/');
    let at = root;
    parts.forEach((name, depth) => {
      const isFile = depth === parts.length - 1;
      const key = isFile ? `${name}\0${file.index}` : name;
      let next = at.children.get(key);
      if (!next) {
        next = node(name, at.path ? `${at.path}/${name}` : name, depth, isFile ? file : null);
        at.children.set(key, next);
      }
      at = next;
    });
  }
  total(root);
  return root;
}

function node(name, path, depth, file) {
  return { name, path, depth, file, children: file ? null : new Map(), size: 0, done: 0, files: [] };
}

function total(at) {
  if (at.file) {
    at.size = at.file.size_bytes;
    at.done = at.file.completed_bytes || 0;
    at.files = [at.file.index];
    return;
  }
  for (const child of at.children.values()) {
    total(child);
    at.size += child.size;
    at.done += child.done;
    for (const index of child.files) at.files.push(index);
  }
}

/** Return the lines that are shown: folders first, each followed by its content if it is open. */
export function linesOf(root, open) {
  const lines = [];
  const add = (at) => {
    const children = [...at.children.values()];
    children.sort((a, b) => (a.file ? 1 : 0) - (b.file ? 1 : 0) || a.name.localeCompare(b.name, undefined, { numeric: true }));
    for (const child of children) {
      lines.push(child);
      if (!child.file && open.has(child.path)) add(child);
    }
  };
  add(root);
  return lines;
}
