// Changes URLs as text, because React Native's own URL class can be read but not changed.

const ABSOLUTE = /^[a-z][a-z\d+.-]*:/i;

/** The absolute URL, without a fragment. `option` is the name of the option, for the error. */
export function absolute(option: string, url: string | URL, base: string | undefined): string {
  const text = String(url);
  if (base === undefined && !ABSOLUTE.test(text)) {
    throw new TypeError(`${option}: '${text}' is relative, but there is no page here; use an absolute URL`);
  }
  return new URL(text, base).href.replace(/#.*/, '');
}

export function appendQuery(url: string, name: string, value: string): string {
  // The one way to encode a query that all versions of React Native have.
  const encoded = new URLSearchParams({ [name]: value }).toString();
  return `${url}${url.includes('?') ? '&' : '?'}${encoded}`;
}

/** The URL with exactly one value of this name. */
export function setQuery(url: string, name: string, value: string): string {
  const [path = '', query = ''] = url.split(/\?(.*)/);
  const kept = query.split('&').filter((part) => part !== '' && part !== name && !part.startsWith(`${name}=`)).join('&');
  return appendQuery(kept === '' ? path : `${path}?${kept}`, name, value);
}
