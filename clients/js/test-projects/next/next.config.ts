import type { NextConfig } from 'next';

// Static files, so that the test can serve them like those of the other projects.
const config: NextConfig = { output: 'export' };
export default config;
