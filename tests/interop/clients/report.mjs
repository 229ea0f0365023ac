// The arguments and the output of the JavaScript clients (README.md).

export const [url, token] = process.argv.slice(2);

export const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

export const printEvent = ({ event, id, data }) => print({ event, id, data });
