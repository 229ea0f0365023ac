// The arguments and the output of the JavaScript clients (README.md).

export const [url, token, lastEventId] = process.argv.slice(2);

export const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

export const printEvent = ({ event, id, data }) => print({ event, id, data });

/** Prints a WebSocket message. The first has the same contents as the first block of an event stream. */
export const printMessage = ({ event, id = '', data }) => {
  if (event === 'open') {
    print({ open: true });
    print({ retry: data.retry });
    printEvent({ event: 'heartbeat', id, data: '{}' });
  } else {
    printEvent({ event, id, data: typeof data === 'string' ? data : JSON.stringify(data) });
  }
};
