// The READMEs of the packages: the examples have no type errors, and the links lead somewhere.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const HERE = new URL('./', import.meta.url);
const path = (relative: string) => fileURLToPath(new URL(relative, HERE));
const read = (relative: string) => readFileSync(path(relative), 'utf8');
const READMES = ['client', 'react'].map((name) => ({ name, text: read(`../../${name}/README.md`) }));

/** What an example takes from the application around it. */
const APPLICATION = `
  declare const accessToken: string | null;
  declare function refresh(): Promise<{ access: string }>;
  declare function show(text: string): void;
  declare function update(id: number, total: number): void;
  declare function leave(message: string): void;
  declare function loadEverythingAgain(): void;
  declare function draw(state: string, code: string | undefined): void;
  declare function report(code: string, status: number | undefined): void;
  declare module 'expo/fetch' {
    export function fetch(url: string, init?: {
      body?: BodyInit | null; credentials?: RequestCredentials; headers?: HeadersInit; method?: string; signal?: AbortSignal | null;
    }): Promise<Response>;
  }
`;
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  jsx: ts.JsxEmit.ReactJSX,
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  paths: { '@idlewild/client': [path('../../client/src/index.ts')], '@idlewild/react': [path('../../react/src/index.ts')] },
};

function fences(text: string, language: RegExp): string[] {
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].filter(([, name]) => language.test(name ?? '')).map(([, , code]) => code ?? '');
}

/** Files from the disk, most of them the compiler's own: each is parsed once. */
const PARSED = new Map<string, ts.SourceFile | undefined>();

/** The type errors of some files in this directory, which need not exist. */
function errorsOf(files: Readonly<Record<string, string>>): string[] {
  const given = new Map(Object.entries(files).map(([name, code]) => [path(name), code]));
  const disk = ts.createCompilerHost(OPTIONS);
  const host: ts.CompilerHost = {
    ...disk,
    fileExists: (name) => given.has(name) || disk.fileExists(name),
    readFile: (name) => given.get(name) ?? disk.readFile(name),
    getSourceFile: (name, language) => {
      const code = given.get(name);
      if (code !== undefined) return ts.createSourceFile(name, code, language);
      const parsed = PARSED.get(name) ?? disk.getSourceFile(name, language);
      PARSED.set(name, parsed);
      return parsed;
    },
  };
  return ts.getPreEmitDiagnostics(ts.createProgram([...given.keys()], OPTIONS, host)).map(({ file, messageText }) =>
    `${file?.fileName.split('/').at(-1) ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
}

const examples = READMES.flatMap(({ name, text }) =>
  fences(text, /^tsx?$/).map((code, index) => [`readme-${name}-${index}.tsx`, code] as const));

describe('the examples', () => {
  it('have no type errors', () => {
    expect(examples.map(([name]) => name)).toEqual([
      'readme-client-0.tsx', 'readme-client-1.tsx', 'readme-react-0.tsx', 'readme-react-1.tsx',
    ]);
    expect(errorsOf({ 'application.d.ts': APPLICATION, ...Object.fromEntries(examples) })).toEqual([]);
  });

  it('are checked for their types: other data is an error', () => {
    const changed = examples.map(([name, code]) => [name, code.replace('total: number', 'total: string')] as const);
    const errors = errorsOf({ 'application.d.ts': APPLICATION, ...Object.fromEntries(changed) });
    expect(errors).toHaveLength(2);
    expect(errors.join()).toMatch(/readme-client-0.*'string'.*'number'.*readme-react-0/s);
  });

  it('for a page without a build step are what the browser test opens', () => {
    const [example] = fences(READMES[0]?.text ?? '', /^html$/);
    expect(example).toBeDefined();
    expect(read('../../test-projects/html/index.html')).toContain(example);
  });
});

describe.each(READMES)('the package $name', ({ name, text }) => {
  it('has a README whose links lead to files of this repository', () => {
    const links = [...text.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, link]) => link ?? '');
    expect(links.length).toBeGreaterThan(0);
    expect(links.filter((link) => !existsSync(path(`../../${name}/${link}`)))).toEqual([]);
  });

  it('tells registries what they show', () => {
    const manifest = JSON.parse(read(`../../${name}/package.json`)) as Record<string, unknown> & { repository: { directory: string } };
    expect(manifest.repository.directory).toBe(`clients/js/${name}`);
    for (const field of ['description', 'homepage', 'bugs', 'author', 'license', 'keywords']) expect(manifest[field]).toBeTruthy();
  });
});
