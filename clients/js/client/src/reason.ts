// Reads why the server refused a request: JSON `{"error": "…"}`, alone or in an `event: error`.

/** Empty if the refusal has another form, for instance because a proxy sent it; then the status has to do. */
export async function reasonOf(response: Response): Promise<string> {
  try {
    // A refusal is short, so the first chunk is all of it. A longer body is not read.
    const reader = response.body?.getReader();
    const chunk = await reader?.read();
    await reader?.cancel();
    const json = /\{.*\}/.exec(new TextDecoder().decode(chunk?.value));
    const { error } = JSON.parse(json?.[0] ?? '{}') as { error?: unknown };
    return typeof error === 'string' ? error : '';
  } catch {
    return '';
  }
}
