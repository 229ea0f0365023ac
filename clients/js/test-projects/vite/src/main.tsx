import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Stream } from './stream';

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Stream />
    </StrictMode>,
  );
}
